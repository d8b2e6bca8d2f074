package ingress

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/labstack/echo/v4"

	"moltbot/contracts"
)

const (
	maxDepth = 32 // how deep JSON may be nested
	// maxTokens is how many names, values and brackets a body may have: three bytes
	// of a list make a message of over a hundred bytes in memory.
	maxTokens = 1 << 16
)

// readJSON reads a request body into v, strictly: one object, no unknown or
// repeated member, no wrong type, valid UTF-8, nothing behind it. What is wrong
// and where is said in the error.
func (in *Ingress) readJSON(c echo.Context, v any) error { return in.readJSONUpTo(c, in.o.MaxBody, v) }

// readJSONUpTo is readJSON for a body of another size.
func (in *Ingress) readJSONUpTo(c echo.Context, most int64, v any) error {
	if err := checkMedia(c.Request().Header); err != nil {
		return err
	}
	body, err := readBody(c, most)
	if err != nil {
		return err
	}
	return decodeStrict(body, v)
}

func checkMedia(h http.Header) error {
	if h.Get(echo.HeaderContentEncoding) != "" {
		return fail(contracts.CodeMediaType, "compressed bodies are not taken")
	}
	media, params, err := mime.ParseMediaType(h.Get(echo.HeaderContentType))
	if err != nil || media != echo.MIMEApplicationJSON {
		return fail(contracts.CodeMediaType, "Content-Type must be application/json")
	}
	if cs := params["charset"]; cs != "" && !strings.EqualFold(cs, "utf-8") {
		return fail(contracts.CodeMediaType, "the charset must be utf-8")
	}
	return nil
}

// readBody reads all of a body before anything waits: otherwise net/http would
// not notice that the client went away.
func readBody(c echo.Context, most int64) ([]byte, error) {
	r := c.Request()
	tooLarge := fail(contracts.CodeTooLarge, fmt.Sprintf("the body is larger than %d bytes", most))
	if r.ContentLength > most {
		return nil, tooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.Response(), r.Body, most))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fail(contracts.CodeBodyTimeout, "the body did not arrive in time")
	case err != nil:
		return nil, fail(contracts.CodeBadRequest, "the body could not be read to its end")
	}
	return body, nil
}

func decodeStrict(body []byte, v any) error {
	if err := checkForm(body, maxDepth); err != nil {
		return err
	}
	err := json.Unmarshal(body, v, json.RejectUnknownMembers(true))
	if err == nil {
		return nil
	}
	return fail(contracts.CodeBadRequest, describe(body, err))
}

// checkForm refuses what is no JSON object or nested too deep, without building it.
func checkForm(body []byte, depth int) error {
	d := jsontext.NewDecoder(bytes.NewReader(body))
	if len(bytes.TrimSpace(body)) == 0 {
		return fail(contracts.CodeBadRequest, "the body is empty, it must be a JSON object")
	}
	if kind := d.PeekKind(); kind != jsontext.KindBeginObject && kind != jsontext.KindInvalid {
		return fail(contracts.CodeBadRequest, "the body must be a JSON object")
	}
	for n := 0; ; n++ {
		_, err := d.ReadToken()
		if errors.Is(err, io.EOF) && d.StackDepth() == 0 && d.InputOffset() > 0 {
			return nil
		}
		if err != nil {
			return fail(contracts.CodeBadRequest, describe(body, err))
		}
		if n == maxTokens {
			return fail(contracts.CodeBadRequest, fmt.Sprintf("more than %d names, values and brackets at byte %d", maxTokens, d.InputOffset()))
		}
		if d.StackDepth() > depth {
			return fail(contracts.CodeBadRequest, fmt.Sprintf("nested deeper than %d levels at byte %d", depth, d.InputOffset()))
		}
	}
}

// describe says what is wrong with a body and where, quoting only its member
// names, clipped.
func describe(body []byte, err error) string {
	var semantic *json.SemanticError
	var syntax *jsontext.SyntacticError
	switch {
	case errors.As(err, &semantic):
		where := clip(string(semantic.JSONPointer), 64)
		if errors.Is(err, json.ErrUnknownName) {
			return fmt.Sprintf("unknown field %q", where)
		}
		if semantic.GoType != nil {
			return fmt.Sprintf("field %q must be %s", where, jsonType(semantic.GoType.Kind().String()))
		}
		return fmt.Sprintf("field %q has a wrong value", where)
	case errors.As(err, &syntax):
		what := "malformed JSON"
		switch {
		case errors.Is(err, jsontext.ErrDuplicateName):
			what = "a field is given twice"
		case !utf8.Valid(body):
			what = "the body is not valid UTF-8"
		case errors.Is(err, io.ErrUnexpectedEOF):
			what = "the JSON ends too early"
		}
		return fmt.Sprintf("%s at byte %d (%s)", what, syntax.ByteOffset, clip(string(syntax.JSONPointer), 64))
	}
	return "malformed JSON"
}

func jsonType(kind string) string {
	switch kind {
	case "string":
		return "a string"
	case "bool":
		return "true or false"
	case "int", "int64", "ptr":
		return "a whole number"
	case "float64":
		return "a number"
	case "slice":
		return "a list"
	case "struct":
		return "an object"
	}
	return "a " + kind
}

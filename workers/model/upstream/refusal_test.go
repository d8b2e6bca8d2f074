package upstream

import (
	"strings"
	"testing"
)

func TestHintNamesTheKindAndNeverQuotes(t *testing.T) {
	const said = "what the user wrote"
	for name, c := range map[string]struct{ body, want string }{
		"openai":       {`{"error":{"message":"` + said + `","type":"invalid_request_error","code":"context_length_exceeded"}}`, "type invalid_request_error, code context_length_exceeded"},
		"flat":         {`{"message":"` + said + `","code":1261}`, "code 1261"},
		"null code":    {`{"error":{"message":"` + said + `","type":"server_error","code":null}}`, "type server_error"},
		"text":         {`{"error":"` + said + `"}`, "no type or code given"},
		"content code": {`{"error":{"code":"` + said + `"}}`, "no type or code given"},
		"long code":    {`{"error":{"code":"` + strings.Repeat("x", 65) + `"}}`, "no type or code given"},
		"html":         {"<html>" + said, "no error document"},
		"list":         {`["` + said + `"]`, "no error document"},
		"empty":        {"", "no error document"},
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := hint([]byte(c.body))
			if got != c.want {
				t.Errorf("hint = %q, want %q", got, c.want)
			}
			if strings.Contains(got, said) {
				t.Errorf("the hint quotes content: %q", got)
			}
		})
	}
}

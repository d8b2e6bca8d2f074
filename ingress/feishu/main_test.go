package feishu

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"moltbot/contracts"
	"moltbot/ingress/im"
)

// What the vectors have in common.
const (
	appID  = "cli_a0b1c2d3e4f5a6b7"
	tenant = "1a2b3c4d5e6f7a8b"
	key    = "tEsT-encrypt-key-0123456789abcdef"
	token  = "vt-Made0up1Verification2Token3"
	bot    = "ou_00000000000000000000000000b07b07"
	sender = "ou_11111111111111111111111111aaaaaa"
	direct = "oc_55555555555555555555555555eeeeee"
	group  = "oc_66666666666666666666666666ffffff"
)

// vectorTime is when the last of the vectors was signed.
func vectorTime() time.Time { return time.Unix(1789200600, 0) }

func identity() Identity {
	return Identity{App: contracts.DefaultApp, AppID: appID, TenantKey: tenant, BotOpenID: func() string { return bot }}
}

func newWebhook(t testing.TB, change ...func(*Options)) *Webhook {
	t.Helper()
	o := Options{Identity: identity(), EncryptKey: key, VerificationToken: token}
	for _, f := range change {
		f(&o)
	}
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func load(t testing.TB, name string, v any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// request is a callback of a vector.
type request struct {
	Headers map[string]string `json:"headers"`
	Body    string            `json:"raw_body"`
}

func (r request) header() http.Header {
	h := http.Header{}
	for name, value := range r.Headers {
		h.Set(name, value)
	}
	return h
}

// payload is one of the vectors of whole callbacks.
type payload struct {
	App struct {
		EncryptKey string `json:"encrypt_key"`
		Token      string `json:"verification_token"`
	} `json:"app"`
	Plain     request `json:"plain_mode"`
	Encrypted struct {
		Request request `json:"request"`
	} `json:"encrypted_mode"`
	Request  request        `json:"request"` // of the checks of the URL
	Expect   map[string]any `json:"expect"`
	Response struct {
		Body string `json:"body"`
	} `json:"expected_http_response"`
}

func loadPayload(t testing.TB, name string) (p payload) {
	t.Helper()
	load(t, filepath.Join("payloads", name+".json"), &p)
	return p
}

// seal encrypts as the platform does.
func seal(t testing.TB, key string, plain []byte) []byte {
	t.Helper()
	sum := sha256.Sum256([]byte(key))
	block, err := aes.NewCipher(sum[:])
	if err != nil {
		t.Fatal(err)
	}
	n := aes.BlockSize - len(plain)%aes.BlockSize
	padded := append([]byte(nil), plain...)
	for range n {
		padded = append(padded, byte(n))
	}
	blob := make([]byte, aes.BlockSize+len(padded))
	copy(blob, "an initial vecto")
	cipher.NewCBCEncrypter(block, blob[:aes.BlockSize]).CryptBlocks(blob[aes.BlockSize:], padded)
	return body(blob)
}

func body(blob []byte) []byte {
	return []byte(`{"encrypt":"` + base64.StdEncoding.EncodeToString(blob) + `"}`)
}

// sign gives the header of a callback that was signed at a time.
func sign(body []byte, at time.Time) http.Header {
	h := http.Header{}
	ts := strconv.FormatInt(at.Unix(), 10)
	h.Set(headerTime, ts)
	h.Set(headerNonce, "n0nce")
	h.Set(headerSignature, Sign(ts, "n0nce", key, body))
	return h
}

// event is an event of version 2.0.
func event(kind, inner string) []byte {
	return []byte(`{"schema":"2.0","header":{"event_id":"e1","event_type":"` + kind + `","create_time":"1789200001000","token":"` + token +
		`","app_id":"` + appID + `","tenant_key":"` + tenant + `"},"event":` + inner + `}`)
}

// message is a message of the sender in the group.
func message(kind, content, more string) []byte {
	b, _ := json.Marshal(content)
	return event(typeMessage, `{"sender":{"sender_id":{"open_id":"`+sender+`"},"sender_type":"user","tenant_key":"`+tenant+`"},
	 "message":{"message_id":"om_1","create_time":"1789200000640","chat_id":"`+group+`","chat_type":"group","message_type":"`+kind+`","content":`+string(b)+more+`}}`)
}

func readOne(t testing.TB, plain []byte) im.Incoming {
	t.Helper()
	e, err := ReadEvent(plain, identity())
	if err != nil || len(e.Messages) != 1 {
		t.Fatalf("%v, %d messages of %s", err, len(e.Messages), plain)
	}
	return e.Messages[0]
}

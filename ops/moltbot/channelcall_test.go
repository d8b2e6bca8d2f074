package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"moltbot/ops/config"
)

// The ciphertext of the official vector opens with the same construction (facts).
func feishuDecrypt(t *testing.T, text, key string) []byte {
	t.Helper()
	blob, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(blob)%aes.BlockSize != 0 {
		t.Fatalf("%q: %v", text, err)
	}
	digest := sha256.Sum256([]byte(key))
	block, err := aes.NewCipher(digest[:])
	if err != nil {
		t.Fatal(err)
	}
	plain := make([]byte, len(blob)-aes.BlockSize)
	cipher.NewCBCDecrypter(block, blob[:aes.BlockSize]).CryptBlocks(plain, blob[aes.BlockSize:])
	return plain[:len(plain)-int(plain[len(plain)-1])]
}

func TestFeishuEncrypt(t *testing.T) {
	if got := feishuDecrypt(t, "P37w+VZImNgPEO1RBhJ6RtKl7n6zymIbEG1pReEzghk=", "test key"); string(got) != "hello world" {
		t.Fatalf("the official vector gives %q", got)
	}
	for _, text := range []string{"", "x", strings.Repeat("y", 16), strings.Repeat("z", 31)} {
		if got := feishuDecrypt(t, feishuEncrypt([]byte(text), "k"), "k"); string(got) != text {
			t.Errorf("%q becomes %q", text, got)
		}
	}
}

func TestCallFeishu(t *testing.T) {
	a := config.Feishu{EncryptKey: feishuKey, VerificationToken: feishuToken}
	answer := func(status int, f func(challenge string) string) *httptest.Server {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var sealed struct {
				Encrypt string `json:"encrypt"`
			}
			var plain struct{ Type, Token, Challenge string }
			if json.NewDecoder(r.Body).Decode(&sealed) != nil || json.Unmarshal(feishuDecrypt(t, sealed.Encrypt, feishuKey), &plain) != nil ||
				plain.Type != "url_verification" || plain.Token != feishuToken {
				t.Errorf("it asks %+v", plain)
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(f(plain.Challenge)))
		}))
		t.Cleanup(s.Close)
		return s
	}
	good := answer(http.StatusOK, func(c string) string { return `{"challenge":"` + c + `"}` })
	if said, err := callFeishu(t.Context(), good.URL, a); err != nil || !strings.HasPrefix(said, "the challenge came back in ") {
		t.Errorf("%q, %v", said, err)
	}
	for want, s := range map[string]*httptest.Server{
		"no such application":  answer(http.StatusNotFound, func(string) string { return "" }),
		"another Encrypt Key":  answer(http.StatusUnauthorized, func(string) string { return "" }),
		"challenge back":       answer(http.StatusOK, func(string) string { return `{"challenge":"x"}` }),
		"give the challenge":   answer(http.StatusOK, func(string) string { return `<html>` }),
		"status 302: the proc": answer(http.StatusFound, func(string) string { return "" }),
	} {
		_, err := callFeishu(t.Context(), s.URL, a)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
			continue
		}
		noSecret(t, err.Error())
	}
	if _, err := callFeishu(t.Context(), "http://127.0.0.1:1", a); err == nil {
		t.Error("nobody answered well")
	}
}

func TestCallDingTalk(t *testing.T) {
	for status, want := range map[int]string{401: "", 403: "", 200: "status 200", 404: "no such application"} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("timestamp") == "" || r.Header.Get("sign") == "" {
				t.Error("it is not signed at all")
			}
			w.WriteHeader(status)
		}))
		_, err := callDingTalk(t.Context(), s.URL)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%d: %v", status, err)
		}
		s.Close()
	}
}

package main

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"moltbot/ops/config"
)

// slowAnswer is how long Feishu waits for the check of a URL (facts).
const slowAnswer = time.Second

// callFeishu makes Feishu's check of a URL, encrypted as Feishu does. It stores no
// message. Only a process with the same Encrypt Key and Verification Token gives
// the challenge back.
func callFeishu(ctx context.Context, url string, a config.Feishu) (string, error) {
	challenge := rand.Text()
	plain, err := json.Marshal(map[string]string{"type": "url_verification", "token": a.VerificationToken, "challenge": challenge})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(map[string]string{"encrypt": feishuEncrypt(plain, a.EncryptKey)})
	if err != nil {
		return "", err
	}
	status, answer, took, err := postTo(ctx, url, body, nil)
	if err != nil {
		return "", err
	}
	var got struct {
		Challenge string `json:"challenge"`
	}
	switch {
	case status == http.StatusNotFound:
		return "", errors.New("404: there is no such application in the process that answers, or it is not moltbot")
	case status != http.StatusOK:
		return "", fmt.Errorf("status %d: the process has another Encrypt Key or Verification Token, or something before it refuses", status)
	case json.Unmarshal(answer, &got) != nil || got.Challenge != challenge:
		return "", errors.New("it answers, but does not give the challenge back: is it moltbot?")
	}
	return saidIn("the challenge came back", took), nil
}

// feishuEncrypt is AES-256-CBC with the key's digest, the IV in front (facts).
func feishuEncrypt(plain []byte, key string) string {
	digest := sha256.Sum256([]byte(key))
	block, _ := aes.NewCipher(digest[:]) // 32 bytes are a key
	pad := aes.BlockSize - len(plain)%aes.BlockSize
	plain = append(plain, bytes.Repeat([]byte{byte(pad)}, pad)...)
	out := make([]byte, aes.BlockSize+len(plain))
	_, _ = rand.Read(out[:aes.BlockSize]) // never fails
	cipher.NewCBCEncrypter(block, out[:aes.BlockSize]).CryptBlocks(out[aes.BlockSize:], plain)
	return base64.StdEncoding.EncodeToString(out)
}

// callDingTalk sends a callback with a wrong signature: DingTalk has no check of its
// own, and a right one would be a message. That it is refused shows who is there.
func callDingTalk(ctx context.Context, url string) (string, error) {
	header := http.Header{"Timestamp": {fmt.Sprint(time.Now().UnixMilli())}, "Sign": {base64.StdEncoding.EncodeToString(make([]byte, 32))}}
	status, _, took, err := postTo(ctx, url, []byte(`{}`), header)
	switch {
	case err != nil:
		return "", err
	case status == http.StatusNotFound:
		return "", errors.New("404: there is no such application in the process that answers, or it is not moltbot")
	case status != http.StatusUnauthorized && status != http.StatusForbidden:
		return "", fmt.Errorf("status %d for a wrong signature, 401 or 403 was expected: is it moltbot?", status)
	}
	return saidIn("a wrong signature is refused", took), nil
}

func saidIn(what string, took time.Duration) string {
	text := fmt.Sprintf("%s in %d ms", what, took.Milliseconds())
	if took > slowAnswer {
		text += ", which is too slow for the platform"
	}
	return text
}

func postTo(ctx context.Context, url string, body []byte, header http.Header) (status int, answer []byte, took time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, 0, err
	}
	if header != nil {
		req.Header = header
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	client := plainClient()
	defer client.CloseIdleConnections()
	began := time.Now()
	res, err := client.Do(req)
	if err != nil {
		return 0, nil, 0, err
	}
	defer func() { _ = res.Body.Close() }() // read only
	answer, err = io.ReadAll(io.LimitReader(res.Body, 64<<10))
	return res.StatusCode, answer, time.Since(began), err
}

package platform

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Write makes an event im.message.receive_v1.
func (f *FeishuAPI) Write(m Message) *Incoming {
	in := &Incoming{Message: m, Platform: Feishu, ID: name("om_", 16), at: time.Now()}
	f.mu.Lock()
	f.chats[in.ID], f.rooms[m.Chat] = m.Chat, true
	if m.Direct {
		f.direct[m.User] = m.Chat
	}
	f.mu.Unlock()
	in.plain = f.Event(in)
	in.body = f.seal(in.plain)
	f.write(in)
	return in
}

// Again is the same message in another event, as the platform pushes it at times.
func (f *FeishuAPI) Again(in *Incoming) *Incoming {
	plain := f.Event(in)
	return &Incoming{Message: in.Message, Platform: Feishu, ID: in.ID, at: in.at, plain: plain, body: f.seal(plain)}
}

// Event is the plain event of a message.
func (f *FeishuAPI) Event(in *Incoming) []byte {
	now, written := strconv.FormatInt(time.Now().UnixMilli(), 10), strconv.FormatInt(in.at.UnixMilli(), 10)
	message := map[string]any{
		"message_id": in.ID, "create_time": written, "update_time": written, "chat_id": in.Chat, "chat_type": "group", "user_agent": "Mozilla/5.0",
	}
	if in.Direct {
		message["chat_type"] = "p2p"
	}
	text := in.Text
	if in.Mention {
		text = "@_user_1 " + text
		message["mentions"] = []any{map[string]any{
			"key": "@_user_1", "id": map[string]any{"union_id": "on_b07", "user_id": "", "open_id": f.App.BotOpenID},
			"mentioned_type": "bot", "name": "assistant", "tenant_key": f.App.TenantKey,
		}}
	}
	message["message_type"], message["content"] = "text", encode(map[string]any{"text": text})
	switch in.Kind {
	case "image":
		message["message_type"], message["content"] = "image", encode(map[string]any{"image_key": imageKey(in.ID)})
	case "file":
		message["message_type"], message["content"] = "file", encode(map[string]any{"file_key": "file_v3_1", "file_name": in.Text})
	}
	return []byte(encode(map[string]any{
		"schema": "2.0",
		"header": map[string]any{
			"event_id": name("", 16), "event_type": "im.message.receive_v1", "create_time": now, "token": f.App.VerificationToken,
			"app_id": f.App.AppID, "tenant_key": f.App.TenantKey,
		},
		"event": map[string]any{
			"sender": map[string]any{
				"sender_id":   map[string]any{"union_id": "on_" + in.User, "user_id": "", "open_id": in.User},
				"sender_type": "user", "tenant_key": f.App.TenantKey,
			},
			"message": message,
		},
	}))
}

func encode(v any) string {
	b, _ := json.Marshal(v) // cannot fail: our own maps
	return string(b)
}

// seal is the platform's encryption: AES-256-CBC with the SHA-256 of the Encrypt
// Key, the IV in front, PKCS#7, base64 (facts 1.1).
func (f *FeishuAPI) seal(plain []byte) []byte {
	key := sha256.Sum256([]byte(f.App.EncryptKey))
	block, _ := aes.NewCipher(key[:]) // 32 bytes
	pad := aes.BlockSize - len(plain)%aes.BlockSize
	padded := append(bytes.Clone(plain), bytes.Repeat([]byte{byte(pad)}, pad)...)
	blob := make([]byte, aes.BlockSize+len(padded))
	_, _ = rand.Read(blob[:aes.BlockSize]) // never fails
	cipher.NewCBCEncrypter(block, blob[:aes.BlockSize]).CryptBlocks(blob[aes.BlockSize:], padded)
	return []byte(`{"encrypt":"` + base64.StdEncoding.EncodeToString(blob) + `"}`)
}

// sign is the hex SHA-256 of time, nonce, Encrypt Key and body (facts 1.1).
func (f *FeishuAPI) sign(body []byte) http.Header {
	now, nonce := strconv.FormatInt(time.Now().Unix(), 10), name("", 5)
	sum := sha256.Sum256(append([]byte(now+nonce+f.App.EncryptKey), body...))
	return http.Header{
		"Content-Type":             {"application/json;charset=utf-8"},
		"X-Lark-Request-Timestamp": {now}, "X-Lark-Request-Nonce": {nonce}, "X-Lark-Signature": {hex.EncodeToString(sum[:])},
	}
}

// stamp is the signature of an event: the first one, or with Restamp ever new ones.
func (f *FeishuAPI) stamp(in *Incoming) http.Header {
	f.mu.Lock()
	defer f.mu.Unlock()
	if in.stamp == nil || f.Restamp {
		in.stamp = f.sign(in.body)
	}
	return in.stamp
}

// Request is the first call of the webhook with a message.
func (f *FeishuAPI) Request(in *Incoming) (http.Header, []byte) { return f.stamp(in), in.body }

// CheckURL registers the webhook as the console does, plain or encrypted. The
// console waits for a second; a machine that runs tests is given what an event has.
func (f *FeishuAPI) CheckURL(ctx context.Context, encrypted bool) error {
	challenge := name("", 16)
	body := []byte(encode(map[string]any{"challenge": challenge, "token": f.App.VerificationToken, "type": "url_verification"}))
	if encrypted {
		body = f.seal(body)
	}
	ctx, cancel := context.WithTimeout(ctx, ackLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.endpoint(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json;charset=utf-8")
	res, err := f.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	var got struct {
		Challenge string `json:"challenge"`
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d: %.200s", res.StatusCode, text)
	}
	if err := json.Unmarshal(text, &got); err != nil || got.Challenge != challenge {
		return errors.Join(fmt.Errorf("challenge %q came back as %.200s", challenge, text), err)
	}
	return nil
}

package keyring

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
)

const callbackSecretLen = 32

// CallbackSecret derives what a caller's callbacks are signed with from the key
// that never rotates. Another number gives another secret.
func (k *Keyring) CallbackSecret(user string, number int) ([]byte, error) {
	if !isName(user) {
		return nil, fmt.Errorf("callback secret: user must be 1 to %d of A-Z a-z 0-9 . _ : @ -", maxName)
	}
	secret, err := hkdf.Key(sha256.New, k.id, nil, "moltbot callback "+strconv.Itoa(number)+" "+user, callbackSecretLen)
	if err != nil {
		return nil, fmt.Errorf("callback secret: %w", err)
	}
	return secret, nil
}

// ShownCallbackSecret is a secret as Standard Webhooks write it.
func ShownCallbackSecret(secret []byte) string {
	return "whsec_" + base64.StdEncoding.EncodeToString(secret)
}

package keyring

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

const maxTokenKeys = 16

// tokenDoc is jwt.json.
type tokenDoc struct {
	Keys    []tokenKey `json:"keys"`
	Primary string     `json:"primary"`
}

type tokenKey struct {
	ID     string `json:"kid"`
	Secret secret `json:"secret"`
}

// secret is bytes as strict base64: exactly one text for one key.
type secret []byte

// MarshalText encodes the bytes.
func (s secret) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, s), nil
}

// UnmarshalText decodes the bytes; its error does not quote them.
func (s *secret) UnmarshalText(text []byte) error {
	b, err := base64.StdEncoding.Strict().DecodeString(string(text))
	if err != nil {
		return errors.New("a secret is not base64")
	}
	*s = b
	return nil
}

// tokenKeys are the secrets by kid, and the kid that signs.
type tokenKeys struct {
	primary string
	byID    map[string][]byte
}

func parseTokenKeys(content []byte) (tokenKeys, error) {
	var doc tokenDoc
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&doc); err != nil {
		return tokenKeys{}, errors.New(`is damaged: not {"keys":[{"kid":"...","secret":"<base64>"}],"primary":"..."}; restore it from a backup`)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return tokenKeys{}, errors.New("is damaged: something follows the keys; restore it from a backup")
	}
	if len(doc.Keys) == 0 || len(doc.Keys) > maxTokenKeys {
		return tokenKeys{}, fmt.Errorf("holds %d keys, must hold 1 to %d; %s", len(doc.Keys), maxTokenKeys, initAdvice)
	}
	keys := tokenKeys{primary: doc.Primary, byID: make(map[string][]byte, len(doc.Keys))}
	for i, key := range doc.Keys {
		if !isName(key.ID) || keys.byID[key.ID] != nil {
			return tokenKeys{}, fmt.Errorf("key %d: its kid is missing, malformed or used twice", i+1)
		}
		if err := checkSecret(key.Secret); err != nil {
			return tokenKeys{}, fmt.Errorf("key %d: %w", i+1, err)
		}
		keys.byID[key.ID] = key.Secret
	}
	if keys.byID[keys.primary] == nil {
		return tokenKeys{}, errors.New("its primary is none of its keys")
	}
	return keys, nil
}

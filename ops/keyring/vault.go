package keyring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/tink-crypto/tink-go-hcvault/v2/integration/hcvault"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// VaultOptions say which key of HashiCorp Vault's transit engine wraps the keyset.
type VaultOptions struct {
	Address   string        // https://vault:8200
	Token     string        // of a role that may encrypt and decrypt with the key
	Mount     string        // of the engine; default transit
	Key       string        // its name
	Namespace string        // of Vault Enterprise; empty: none
	Timeout   time.Duration // of one call; default 5s
}

const (
	vaultTries  = 2       // after the first, where Vault says 5xx or does not answer
	vaultAnswer = 1 << 20 // most bytes of an answer
)

// NewVault gives Vault's key. Nothing is asked before it is used. Its errors
// hold nothing that Vault says: Vault is told the keyset, and could repeat it.
func NewVault(o VaultOptions) (tink.AEAD, error) {
	if o.Mount == "" {
		o.Mount = "transit"
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Second
	}
	c := api.DefaultConfig()
	if c.Error != nil {
		return nil, errors.New("vault: the VAULT_* variables of the environment cannot be read")
	}
	c.Address, c.AgentAddress = o.Address, ""
	c.Timeout, c.MaxRetries, c.DisableRedirects = o.Timeout, vaultTries, true // a redirect would carry the token elsewhere
	c.MinRetryWait, c.MaxRetryWait = 50*time.Millisecond, 150*time.Millisecond
	c.HttpClient.Transport = bounded{c.HttpClient.Transport}
	client, err := api.NewClient(c)
	if err != nil {
		return nil, errors.New("vault: keys.vault.address cannot be used")
	}
	client.SetToken(o.Token)
	client.ClearNamespace()
	if o.Namespace != "" {
		client.SetNamespace(o.Namespace)
	}
	root, err := hcvault.NewAEAD("/"+strings.Trim(o.Mount, "/")+"/keys/"+o.Key, client.Logical())
	if err != nil {
		return nil, errors.New("vault: keys.vault.mount and keys.vault.key name no key")
	}
	return vault{root}, nil
}

type vault struct{ root tink.AEAD }

func (v vault) Encrypt(plain, place []byte) ([]byte, error) {
	sealed, err := v.root.Encrypt(plain, place)
	if err != nil {
		return nil, vaultError("encrypt", err)
	}
	if !bytes.HasPrefix(sealed, []byte("vault:")) {
		return nil, errors.New("vault: encrypt: it gave something that is none of its ciphertexts")
	}
	return sealed, nil
}

func (v vault) Decrypt(sealed, place []byte) ([]byte, error) {
	plain, err := v.root.Decrypt(sealed, place)
	if err != nil {
		return nil, vaultError("decrypt", err)
	}
	if len(plain) == 0 {
		return nil, errors.New("vault: decrypt: it gave nothing")
	}
	return plain, nil
}

// vaultError keeps the kind of what went wrong and none of its words.
func vaultError(step string, err error) error {
	var answer *api.ResponseError
	var slow interface{ Timeout() bool }
	switch {
	case errors.As(err, &answer):
		return fmt.Errorf("vault: %s: it answers %d%s", step, answer.StatusCode, vaultAdvice(answer.StatusCode))
	case errors.Is(err, errTooLong):
		return fmt.Errorf("vault: %s: %w", step, errTooLong)
	case errors.Is(err, context.DeadlineExceeded) || errors.As(err, &slow) && slow.Timeout():
		return fmt.Errorf("vault: %s: it does not answer in time", step)
	}
	return fmt.Errorf("vault: %s: it cannot be reached, or its answer cannot be read", step)
}

func vaultAdvice(status int) string {
	switch status {
	case http.StatusBadRequest:
		return " (not what this key wrapped, or no such key)"
	case http.StatusForbidden:
		return " (the token is not valid, or its policy does not allow this key)"
	case http.StatusNotFound:
		return " (no transit engine at keys.vault.mount)"
	case http.StatusServiceUnavailable:
		return " (it is sealed or in maintenance)"
	}
	return ""
}

var errTooLong = errors.New("its answer is too long")

// bounded reads no more of an answer than one can be long.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		res.Body = &boundedBody{ReadCloser: res.Body, left: vaultAnswer}
	}
	return res, err
}

type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

package feishu

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"

	"moltbot/ingress/im"
)

// decrypter opens AES-256-CBC with the digest of an Encrypt Key. Whatever is wrong
// with a ciphertext, the error is the same.
type decrypter struct{ block cipher.Block }

func newDecrypter(key string) (decrypter, error) {
	sum := sha256.Sum256([]byte(key))
	block, err := aes.NewCipher(sum[:])
	return decrypter{block}, err
}

// open reads base64 of the initial vector and the blocks behind it.
func (d decrypter) open(text []byte) ([]byte, error) {
	blob := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(blob, text)
	if err != nil || n < 2*aes.BlockSize || n%aes.BlockSize != 0 {
		return nil, errCipher
	}
	iv, plain := blob[:aes.BlockSize], blob[aes.BlockSize:n]
	cipher.NewCBCDecrypter(d.block, iv).CryptBlocks(plain, plain)
	return unpad(plain)
}

// unpad takes PKCS#7 padding off, in a time that does not depend on which of its
// bytes is wrong.
func unpad(plain []byte) ([]byte, error) {
	length := int(plain[len(plain)-1])
	good := subtle.ConstantTimeLessOrEq(1, length) & subtle.ConstantTimeLessOrEq(length, aes.BlockSize)
	for i := range aes.BlockSize {
		b := plain[len(plain)-1-i]
		within := subtle.ConstantTimeLessOrEq(i+1, length)
		good &= 1 ^ within&(1^subtle.ConstantTimeByteEq(b, byte(length)))
	}
	if good != 1 {
		return nil, errCipher
	}
	return plain[:len(plain)-length], nil
}

// ciphertext finds it in a body, which is JSON where the platform signed it.
func ciphertext(body []byte, genuine bool) ([]byte, bool) {
	if !genuine {
		return encrypted(body)
	}
	var v struct {
		Encrypt string `json:"encrypt"`
	}
	if im.Decode(body, &v) != nil {
		return nil, false
	}
	return []byte(v.Encrypt), v.Encrypt != "" && !strings.ContainsAny(v.Encrypt, "\r\n") // base64 decoders pass over line ends
}

// encrypted finds the ciphertext in {"encrypt":"…"} of a stranger. It is no JSON
// parser, so that none sees what he wrote, and takes no other member.
func encrypted(body []byte) ([]byte, bool) {
	rest := bytes.TrimSpace(body)
	for _, token := range []string{"{", `"encrypt"`, ":", `"`} {
		var ok bool
		if rest, ok = bytes.CutPrefix(rest, []byte(token)); !ok {
			return nil, false
		}
		if token != `"` {
			rest = bytes.TrimLeft(rest, " \t\r\n")
		}
	}
	text, rest, ok := bytes.Cut(rest, []byte(`"`))
	if rest = bytes.TrimSpace(rest); !ok || string(rest) != "}" || bytes.ContainsAny(text, "\r\n") {
		return nil, false
	}
	return bytes.ReplaceAll(text, []byte(`\/`), []byte(`/`)), true
}

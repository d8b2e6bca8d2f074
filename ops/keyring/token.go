package keyring

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"moltbot/contracts"
)

// The scopes of a token.
const (
	ScopeChat  = "chat"
	ScopeAdmin = "admin"
)

const (
	issuer   = "moltbot"
	audience = "moltbot"
	leeway   = 30 * time.Second
	maxToken = 8 << 10
	maxName  = 64
)

// ErrToken is in every error of Verify. The text beside it is one of a few
// constants, so nothing of the token gets into a log.
var ErrToken = errors.New("token refused")

// Claims is what a token says. Times are whole seconds.
type Claims struct {
	User    string         // 1 to 64 of A-Z a-z 0-9 . _ : @ -
	Scopes  []string       // ScopeChat, ScopeAdmin
	Rate    contracts.Rate // the caller's own; zero: the default of the ingress
	Models  contracts.ModelNames
	Budget  int64 // tokens of models a day; 0: the default of the ingress
	Expires time.Time
	ID      string    // Sign makes one if empty
	Issued  time.Time // Sign takes the present if zero
}

// Can reports whether the token carries scope.
func (c Claims) Can(scope string) bool { return slices.Contains(c.Scopes, scope) }

// payload is Claims on the wire. The audience is a plain string, so that a list
// does not decode.
type payload struct {
	Issuer    string               `json:"iss"`
	Subject   string               `json:"sub"`
	Audience  string               `json:"aud"`
	Expires   *jwt.NumericDate     `json:"exp,omitempty"`
	NotBefore *jwt.NumericDate     `json:"nbf,omitempty"`
	Issued    *jwt.NumericDate     `json:"iat,omitempty"`
	ID        string               `json:"jti"`
	Scope     string               `json:"scope"`
	Rate      string               `json:"rate,omitempty"`
	Budget    int64                `json:"budget,omitempty"`
	Models    contracts.ModelNames `json:"models,omitempty"`
}

func (p *payload) GetExpirationTime() (*jwt.NumericDate, error) { return p.Expires, nil }
func (p *payload) GetIssuedAt() (*jwt.NumericDate, error)       { return p.Issued, nil }
func (p *payload) GetNotBefore() (*jwt.NumericDate, error)      { return p.NotBefore, nil }
func (p *payload) GetIssuer() (string, error)                   { return p.Issuer, nil }
func (p *payload) GetSubject() (string, error)                  { return p.Subject, nil }
func (p *payload) GetAudience() (jwt.ClaimStrings, error) {
	return jwt.ClaimStrings{p.Audience}, nil
}

// Sign makes a token for c with the primary key.
func (k *Keyring) Sign(c Claims) (string, error) {
	if c.Issued.IsZero() {
		c.Issued = k.now()
	}
	if c.ID == "" {
		c.ID = hex.EncodeToString(random()[:16])
	}
	if err := k.signable(c); err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, &payload{
		Issuer: issuer, Subject: c.User, Audience: audience, ID: c.ID, Scope: strings.Join(c.Scopes, " "), Rate: c.Rate.String(), Models: c.Models, Budget: c.Budget,
		Expires: jwt.NewNumericDate(c.Expires), Issued: jwt.NewNumericDate(c.Issued),
	})
	token.Header["kid"] = k.tokens.primary
	text, err := token.SignedString(k.tokens.byID[k.tokens.primary])
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return text, nil
}

func (k *Keyring) signable(c Claims) error {
	var errs []error
	if !isName(c.User) {
		errs = append(errs, fmt.Errorf("user must be 1 to %d of A-Z a-z 0-9 . _ : @ -", maxName))
	}
	if !isName(c.ID) {
		errs = append(errs, fmt.Errorf("id must be 1 to %d of A-Z a-z 0-9 . _ : @ -", maxName))
	}
	if !c.Expires.After(k.now()) {
		errs = append(errs, errors.New("it must expire in the future"))
	}
	if !c.Rate.IsZero() {
		errs = append(errs, c.Rate.Check())
	}
	errs = append(errs, c.Models.Check())
	if c.Budget < 0 {
		errs = append(errs, errors.New("budget must not be negative"))
	}
	if len(c.Scopes) == 0 {
		errs = append(errs, errors.New("it needs a scope"))
	}
	for _, scope := range c.Scopes {
		if !known(scope) {
			errs = append(errs, fmt.Errorf("scope %.40q is neither %s nor %s", scope, ScopeChat, ScopeAdmin))
		}
	}
	return errors.Join(errs...)
}

func known(scope string) bool { return scope == ScopeChat || scope == ScopeAdmin }

// Verify reads a token that Sign made with any key of the ring. A scope that
// this build does not know is left out.
func (k *Keyring) Verify(token string) (Claims, error) {
	if !wellFormed(token) {
		return Claims{}, fmt.Errorf("%w: malformed", ErrToken)
	}
	if c, ok := k.verified.find(token, k.now()); ok {
		return c, nil
	}
	var p payload
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithStrictDecoding(),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(k.now),
		jwt.WithIssuer(issuer), jwt.WithAudience(audience),
	)
	if _, err := parser.ParseWithClaims(token, &p, k.key); err != nil {
		return Claims{}, fmt.Errorf("%w: %s", ErrToken, reason(err))
	}
	if !isName(p.Subject) || !isName(p.ID) || p.Issued == nil {
		return Claims{}, fmt.Errorf("%w: incomplete claims", ErrToken)
	}
	// A claim that cannot be read is refused: to ignore it could lift a limit.
	var rate contracts.Rate
	if p.Rate != "" {
		var err error
		if rate, err = contracts.ParseRate(p.Rate); err != nil {
			return Claims{}, fmt.Errorf("%w: invalid rate", ErrToken)
		}
	}
	if p.Models.Check() != nil || p.Models != nil && len(p.Models) == 0 {
		return Claims{}, fmt.Errorf("%w: invalid models", ErrToken)
	}
	if p.Budget < 0 {
		return Claims{}, fmt.Errorf("%w: invalid budget", ErrToken)
	}
	c := Claims{
		User: p.Subject, ID: p.ID, Rate: rate, Models: p.Models, Budget: p.Budget, Expires: p.Expires.UTC(), Issued: p.Issued.UTC(),
		Scopes: slices.DeleteFunc(strings.Fields(p.Scope), func(s string) bool { return !known(s) }),
	}
	k.verified.remember(token, c)
	return c, nil
}

// wellFormed bounds the work for a stranger's text. The alphabet is checked
// because Go's base64, even when strict, skips line breaks.
func wellFormed(token string) bool {
	if len(token) > maxToken || strings.Count(token, ".") != 2 {
		return false
	}
	return !strings.ContainsFunc(token, func(r rune) bool { return !alphanumeric(r) && !strings.ContainsRune(".-_", r) })
}

// key looks the kid up among our keys. No other header may say where a key is
// or how the token is to be read: jku, jwk, x5u, x5c and crit are not for us.
func (k *Keyring) key(token *jwt.Token) (any, error) {
	for name := range token.Header {
		if name != "alg" && name != "typ" && name != "kid" {
			return nil, errors.New("header not allowed")
		}
	}
	kid, ok := token.Header["kid"].(string)
	if !ok {
		return nil, errors.New("no kid")
	}
	secret, ok := k.tokens.byID[kid]
	if !ok {
		return nil, errors.New("unknown kid")
	}
	return secret, nil
}

// reason reduces the library's error, which may quote the token, to a constant.
func reason(err error) string {
	for _, r := range []struct {
		err  error
		text string
	}{
		{jwt.ErrTokenMalformed, "malformed"},
		{jwt.ErrTokenUnverifiable, "unknown key or header"},
		{jwt.ErrTokenSignatureInvalid, "wrong algorithm or signature"},
		{jwt.ErrTokenExpired, "expired"},
		{jwt.ErrTokenNotValidYet, "not valid yet"},
		{jwt.ErrTokenUsedBeforeIssued, "issued in the future"},
		{jwt.ErrTokenInvalidAudience, "wrong audience"},
		{jwt.ErrTokenInvalidIssuer, "wrong issuer"},
	} {
		if errors.Is(err, r.err) {
			return r.text
		}
	}
	return "invalid claims"
}

// isName reports whether s is safe to log and to look up.
func isName(s string) bool {
	return s != "" && len(s) <= maxName &&
		!strings.ContainsFunc(s, func(r rune) bool { return !alphanumeric(r) && !strings.ContainsRune("._:@-", r) })
}

func alphanumeric(r rune) bool {
	return '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
}

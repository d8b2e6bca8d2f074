package ingress

import (
	"slices"
	"strings"

	"github.com/labstack/echo/v4"

	"moltbot/contracts"
)

// Scopes of a token.
const (
	scopeChat  = "chat"  // everything under /api
	scopeAdmin = "admin" // everything under /admin
)

// authenticate finds out who calls. A bearer header, once given, decides alone:
// a bad one is not made good by a token in the body.
func (in *Ingress) authenticate(c echo.Context, bodyToken string) (Identity, error) {
	token, err := bearer(c)
	if err != nil {
		return Identity{}, in.unauthorized(c, bearerForm)
	}
	if token == "" {
		token = bodyToken
	}
	if token == "" {
		return Identity{}, in.unauthorized(c, "a token is needed: send it as \"Authorization: Bearer TOKEN\" or as \"token\" in the body; \"moltbot token\" makes one")
	}
	who, err := in.o.Verifier.Verify(token)
	if err != nil {
		return Identity{}, in.unauthorized(c, "the token is not valid or has expired; \"moltbot token\" makes a new one")
	}
	c.Set(keyCaller, userID(who.User))
	if !slices.Contains(who.Scopes, scopeChat) {
		return Identity{}, fail(contracts.CodeForbidden, "the token lacks the scope \"chat\"")
	}
	return who, nil
}

// unauthorized counts the failure against the address it came from, so that
// guessing costs as much as calling.
func (in *Ingress) unauthorized(c echo.Context, why string) error {
	if wait := in.limits.take(c.RealIP()); wait > 0 {
		return limited(wait)
	}
	return fail(contracts.CodeUnauthorized, why)
}

const bearerForm = "the Authorization header must be \"Bearer TOKEN\", once"

// bearer reads the Authorization header. No header gives an empty token; any
// other scheme, or a second header, is an error.
func bearer(c echo.Context) (string, error) {
	values := c.Request().Header.Values(echo.HeaderAuthorization)
	if len(values) == 0 {
		return "", nil
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if len(values) > 1 || !ok || !strings.EqualFold(scheme, "Bearer") || strings.TrimSpace(token) == "" {
		return "", fail(contracts.CodeUnauthorized, bearerForm)
	}
	return strings.TrimSpace(token), nil
}

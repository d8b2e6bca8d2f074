package app

import (
	"errors"
	"net/url"
	"strings"
)

// withPassword puts a password into the first of the addresses, from where the
// client takes it for all of them.
func withPassword(addresses, password string) (string, error) {
	if password == "" {
		return addresses, nil
	}
	first, rest, several := strings.Cut(addresses, ",")
	u, err := url.Parse(first)
	if err != nil {
		return "", errors.New("redis.url cannot be read") // the cause would quote it
	}
	u.User = url.UserPassword(u.User.Username(), password)
	if !several {
		return u.String(), nil
	}
	return u.String() + "," + rest, nil
}

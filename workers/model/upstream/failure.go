package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"moltbot/contracts"
	"moltbot/workers/model"
)

const (
	soon        = time.Second      // when to ask again if the provider does not say
	operatorDue = 30 * time.Second // how long a wrong key or endpoint is left to the operator
	maxWait     = time.Minute      // cap on the provider's own Retry-After
)

// verdict is what a failed call comes to.
type verdict struct {
	kind model.Kind
	wait time.Duration // until it makes sense to ask again; 0: soon
}

// judge decides who is to blame. What is not a provider's refusal or slowness
// is a bad answer or a broken connection.
func judge(err error) verdict {
	var slow late
	var refused Refusal
	var none spent
	var network *url.Error
	switch {
	case errors.As(err, &slow):
		return slow.judge()
	case errors.As(err, &none):
		return none.judge()
	case errors.As(err, &refused):
		return refused.judge()
	case errors.Is(err, ErrBroke):
		return verdict{kind: model.KindDown}
	case errors.As(err, &network):
		return judgeNetwork(network.Err)
	case errors.Is(err, ErrFiltered):
		return verdict{kind: model.KindFiltered}
	case errors.Is(err, ErrRequest):
		return verdict{kind: model.KindRequest}
	case errors.Is(err, errTooLarge):
		return verdict{kind: model.KindOversize}
	case errors.Is(err, errNoRoom):
		return verdict{kind: model.KindNoRoom}
	case errors.Is(err, errEmpty), errors.Is(err, ErrCalls):
		return verdict{kind: model.KindUnfit}
	}
	return verdict{kind: model.KindAnswer}
}

// judgeNetwork: nothing is ever sent to a server that cannot prove who it is,
// and only the operator can help there.
func judgeNetwork(err error) verdict {
	_, unproven := errors.AsType[*tls.CertificateVerificationError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	_, otherHost := errors.AsType[x509.HostnameError](err)
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	if unproven || invalid || otherHost || noTLS || errors.Is(err, http.ErrSchemeMismatch) {
		return verdict{kind: model.KindOperator}
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return verdict{kind: model.KindTimeout}
	}
	return verdict{kind: model.KindDown}
}

// judge: how long an answer gets is up to the prompt, once it has begun.
func (l late) judge() verdict {
	if l.begun {
		return verdict{kind: model.KindLong}
	}
	return verdict{kind: model.KindTimeout}
}

// judge: a wrong key, an unpaid bill and a moved endpoint are the operator's
// trouble, not the message's, so the message waits for the operator.
func (r Refusal) judge() verdict {
	switch {
	case r.about == aboutLength:
		return verdict{kind: model.KindTooLong}
	case r.about == aboutMoney:
		return verdict{kind: model.KindOperator}
	case r.about == aboutContent:
		return verdict{kind: model.KindFiltered}
	case r.about == aboutModel:
		return verdict{kind: model.KindUnknown}
	case r.status == http.StatusTooManyRequests:
		return verdict{kind: model.KindBusy, wait: r.asked}
	case r.status == 0, r.status == http.StatusRequestTimeout, r.status >= 500:
		return verdict{kind: model.KindDown, wait: r.asked}
	case r.status == http.StatusUnauthorized, r.status == http.StatusForbidden, r.status < 400:
		return verdict{kind: model.KindOperator}
	case r.status == http.StatusNotFound:
		return verdict{kind: model.KindUnknown}
	}
	return verdict{kind: model.KindRequest}
}

// judge does not leave a message to its keys for longer than to the operator:
// they may be replaced meanwhile.
func (s spent) judge() verdict {
	if s.refused {
		return verdict{kind: model.KindOperator}
	}
	return verdict{kind: model.KindBusy, wait: s.wait}
}

// public is what the outside gets to know.
func (v verdict) public() *contracts.Error {
	switch v.kind {
	case model.KindBusy, model.KindDown:
		return later(contracts.CodeModelFailed, "the model is not available", v.wait)
	case model.KindOperator:
		return later(contracts.CodeModelFailed, "the model is not available", operatorDue)
	case model.KindTimeout, model.KindLong:
		return later(contracts.CodeModelTimeout, "the model took too long", 0)
	case model.KindAnswer, model.KindUnfit:
		return later(contracts.CodeModelAnswer, "the model's answer was not usable", 0)
	case model.KindOversize:
		return &contracts.Error{Code: contracts.CodeModelAnswer, Message: "the model's answer was too large"}
	case model.KindNoRoom:
		return &contracts.Error{Code: contracts.CodeModelAnswer, Message: "the model's answer did not fit its token limit"}
	case model.KindFiltered:
		return &contracts.Error{Code: contracts.CodeModelFailed, Message: "the model's answer was filtered"}
	case model.KindTooLong:
		return &contracts.Error{Code: contracts.CodeModelFailed, Message: "the conversation is too long for the model"}
	}
	return &contracts.Error{Code: contracts.CodeModelFailed, Message: "the model refused the request"}
}

func later(code contracts.Code, message string, wait time.Duration) *contracts.Error {
	return &contracts.Error{Code: code, Message: message, Retryable: true, RetryAfter: min(max(wait, soon), maxWait)}
}

// withoutAddress leaves out the URL of a request: its query may hold a secret.
func withoutAddress(err error) error {
	if inURL, ok := errors.AsType[*url.Error](err); ok {
		return inURL.Err
	}
	return err
}

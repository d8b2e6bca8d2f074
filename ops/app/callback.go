package app

import (
	"moltbot/contracts"
	"moltbot/ops/config"
	"moltbot/ops/keyring"
	"moltbot/workers/deliver"
	"moltbot/workers/deliver/callback"
	"moltbot/workers/deliver/egress"
)

// callbackSender makes what sends answers to callback URLs.
func (a *App) callbackSender() (deliver.Sender, error) {
	c := a.o.Config
	allow, err := c.Deliver.Allowed()
	if err != nil {
		return nil, err
	}
	hosts, err := contracts.ParseCallbackHosts(c.Callback.Hosts)
	if err != nil {
		return nil, err
	}
	generations, err := contracts.ParseCallbackGenerations(c.Callback.Generations)
	if err != nil {
		return nil, err
	}
	client := egress.New(egress.Options{Allow: allow, Response: c.Callback.Timeout})
	a.onClose("connections to callback URLs", func() error { client.CloseIdleConnections(); return nil })
	return callback.New(callback.Options{
		Client: client, Hosts: hosts, RetryFor: c.Callback.RetryFor, Agent: "moltbot/" + a.o.Version,
		Secrets: func(user string) [][]byte { return callbackSecrets(a.keys, user, generations.Of(user)) },
	})
}

// callbackSecrets are the secret of a generation and the next. A name that nobody
// can have gets none, so nothing is sent for it.
func callbackSecrets(keys *keyring.Keyring, user string, generation int) [][]byte {
	var all [][]byte
	for n := generation; n <= generation+1; n++ {
		secret, err := keys.CallbackSecret(user, n)
		if err != nil {
			return nil
		}
		all = append(all, secret)
	}
	return all
}

// CallbackSecret shows a caller's secret, or the one that is to follow.
func CallbackSecret(keys *keyring.Keyring, c config.Callback, r contracts.CallbackSecretRequest) (contracts.CallbackSecretReply, error) {
	generations, err := contracts.ParseCallbackGenerations(c.Generations)
	if err != nil {
		return contracts.CallbackSecretReply{}, err
	}
	n := generations.Of(r.User)
	if r.Next {
		n++
	}
	secret, err := keys.CallbackSecret(r.User, n)
	if err != nil {
		return contracts.CallbackSecretReply{}, err
	}
	return contracts.CallbackSecretReply{User: r.User, Generation: n, Secret: keyring.ShownCallbackSecret(secret)}, nil
}

// showCallbackSecret is CallbackSecret of this process' keys.
func (a *App) showCallbackSecret(r contracts.CallbackSecretRequest) (contracts.CallbackSecretReply, error) {
	return CallbackSecret(a.keys, a.o.Config.Callback, r)
}

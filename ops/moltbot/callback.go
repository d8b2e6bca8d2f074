package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"moltbot/contracts"
	"moltbot/ops/app"
	"moltbot/ops/config"
)

type callbackCmd struct {
	Secret callbackSecretCmd `cmd:"" help:"Print the secret that a caller's callbacks are signed with."`
}

type callbackSecretCmd struct {
	User    string `short:"u" required:"" placeholder:"USER" help:"Whose, as in the token."`
	Next    bool   `help:"The one that is to follow. Callbacks are signed with both."`
	DataDir string `name:"data-dir" placeholder:"DIR" help:"Data directory whose keys it is derived from."`
	JSON    bool   `help:"Print JSON."`
}

// Run prints the secret alone on standard output, and which it is beside it.
func (s *callbackSecretCmd) Run(ctx context.Context, c *cli, out *console) error {
	conf, err := flags{DataDir: s.DataDir}.load(c)
	if err != nil {
		return err
	}
	reply, err := callbackSecret(ctx, conf, contracts.CallbackSecretRequest{User: s.User, Next: s.Next})
	if err != nil {
		return fmt.Errorf("callback secret: %w", err)
	}
	if s.JSON {
		return printJSON(out.out, reply)
	}
	fmt.Fprintln(out.out, reply.Secret)
	fmt.Fprintf(out.err, "user %s, generation %d\n", reply.User, reply.Generation)
	return nil
}

// callbackSecret asks the running process where the key files cannot be used.
func callbackSecret(ctx context.Context, conf config.Config, ask contracts.CallbackSecretRequest) (contracts.CallbackSecretReply, error) {
	keys, err := app.OpenKeys(ctx, conf, conf.KeysDir != "")
	if err == nil {
		return app.CallbackSecret(keys, conf.Callback, ask)
	}
	var reply contracts.CallbackSecretReply
	if e := admin(ctx, conf, http.MethodPost, "/admin/callback", ask, &reply); e != nil {
		return reply, errors.Join(err, e)
	}
	return reply, nil
}

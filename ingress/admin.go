package ingress

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/labstack/echo/v4"

	"moltbot/contracts"
)

const minAdminToken = 32

// Admin is the operators' API: on loopback only, for whoever can read the
// 0600 token file.
type Admin struct {
	Listener net.Listener // on loopback; closed by Run
	Token    string       // at least 32 characters
	// Status gives what "moltbot status" shows.
	Status func(context.Context) (contracts.AdminStatus, error)
	// Mint signs a token.
	Mint func(contracts.TokenRequest) (contracts.TokenReply, error)
	// Workers gives what "moltbot workers" shows.
	Workers func(context.Context) (contracts.AdminWorkers, error)
	// Resize changes the slots of a pool in every process; by is who asks. What
	// it gets has been checked but for how it fits the deployment.
	Resize func(ctx context.Context, p contracts.Pool, r contracts.PoolRequest, by string) (contracts.PoolReply, error)
	// Usage gives what "moltbot usage" shows, from one day to another (2006-01-02);
	// nil: nothing is shown.
	Usage func(ctx context.Context, from, to string) (contracts.AdminUsage, error)
	// Purge forgets cached answers, of one model or, without a name, of all;
	// nil: nobody can.
	Purge func(ctx context.Context, model string) error
	// Owner gives whose session a conversation is, for "moltbot session"; nil:
	// operators have nothing to do with sessions.
	Owner func(ctx context.Context, conversation string) (a contracts.About, found bool, err error)
	// Keys gives what "moltbot key list" shows of the processes; nil: nothing is shown.
	Keys func(context.Context) (contracts.AdminKeys, error)
	// Reseal begins to seal Redis anew; by is who asks. Nil: nobody can.
	Reseal func(ctx context.Context, by string) error

	// Models shows and changes the table of models; nil: nobody can.
	Models ModelAdmin

	// Tasks shows and changes background tasks; nil: nobody can.
	Tasks TaskAdmin

	// Dead shows, replays and drops dead letters; nil: nobody can.
	Dead DeadAdmin

	srv *http.Server
}

func (a *Admin) check() error {
	var errs []error
	if a.Listener == nil || a.Status == nil || a.Mint == nil || a.Workers == nil || a.Resize == nil {
		errs = append(errs, errors.New("the admin API needs Listener, Status, Mint, Workers and Resize"))
	}
	if len(a.Token) < minAdminToken {
		errs = append(errs, fmt.Errorf("the admin token must have at least %d characters", minAdminToken))
	}
	return errors.Join(errs...)
}

func (a *Admin) open(in *Ingress) {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = in.problem
	e.IPExtractor = echo.ExtractIPDirect()
	e.Use(in.requestID, in.accessLog, in.recovered(), in.guard(a))
	e.GET("/admin/status", func(c echo.Context) error {
		s, err := a.Status(c.Request().Context())
		if err != nil {
			return err
		}
		return c.JSON(http.StatusOK, s)
	})
	e.POST("/admin/token", func(c echo.Context) error {
		var r contracts.TokenRequest
		if err := in.readJSON(c, &r); err != nil {
			return err
		}
		t, err := a.Mint(r)
		if err != nil {
			return &contracts.Error{Code: contracts.CodeBadRequest, Message: "no token for this user, scope, rate or time", Err: err}
		}
		return c.JSON(http.StatusOK, t)
	})
	e.GET("/admin/workers", in.listWorkers(a))
	e.PUT("/admin/pools/:pool", in.resizePool(a))
	if a.Models != nil {
		e.GET("/admin/model", in.showModels(a))
		e.PUT("/admin/model", in.changeModels(a))
		e.POST("/admin/model/reload", in.reloadModels(a))
	}
	if a.Usage != nil {
		e.GET("/admin/usage", in.showUsage(a))
	}
	if a.Purge != nil {
		e.DELETE("/admin/cache", in.purgeCache(a))
	}
	if a.Owner != nil {
		in.adminSessions(e, a)
	}
	if a.Tasks != nil {
		e.GET("/admin/tasks", in.listTasks(a))
		e.POST("/admin/tasks", in.changeTask(a))
	}
	if a.Dead != nil {
		in.adminDead(e, a)
	}
	in.openAdminKeys(e, a)
	a.srv = &http.Server{
		Handler: e, ReadHeaderTimeout: in.o.HeaderTimeout, ReadTimeout: in.o.HeaderTimeout + in.o.ReadTimeout,
		MaxHeaderBytes: in.o.MaxHeader, IdleTimeout: time.Minute, ErrorLog: quiet(in.o.Log),
	}
}

func (a *Admin) serve() error { return a.srv.Serve(a.Listener) }

// guard lets in who knows the token of the file, or has a token with the scope
// "admin", and no browser page: a page cannot set the header, and its Host would
// be another one (DNS rebinding).
func (in *Ingress) guard(a *Admin) echo.MiddlewareFunc {
	return func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			host, _, err := net.SplitHostPort(c.Request().Host)
			if err != nil {
				host = c.Request().Host
			}
			ip := net.ParseIP(host)
			if host != "localhost" && (ip == nil || !ip.IsLoopback()) {
				return fail(contracts.CodeForbidden, "the admin API is for this machine only")
			}
			token, err := bearer(c)
			if err != nil || !in.mayAdmin(c, a, token) {
				return in.unauthorized(c, "the admin token is in admin.json in the data directory; a token with the scope \"admin\" does as well")
			}
			return next(c)
		}
	}
}

func (in *Ingress) mayAdmin(c echo.Context, a *Admin, token string) bool {
	if subtle.ConstantTimeCompare([]byte(token), []byte(a.Token)) == 1 {
		c.Set(keyCaller, "operator")
		return true
	}
	who, err := in.o.Verifier.Verify(token)
	if err != nil || !slices.Contains(who.Scopes, scopeAdmin) {
		return false
	}
	c.Set(keyCaller, userID(who.User))
	return true
}

func (a *Admin) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return a.srv.Shutdown(ctx)
}

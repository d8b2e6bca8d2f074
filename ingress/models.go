package ingress

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"moltbot/contracts"
)

// mayUse refuses a model that does not exist, and in the same words one that is
// not for this caller.
func (in *Ingress) mayUse(who Identity, model string) error {
	if in.o.Models == nil && !who.Models.Allow(model) {
		return noModel(model)
	}
	if in.o.Models == nil {
		return nil
	}
	router, err := in.router()
	if err != nil {
		return err
	}
	if _, _, ok := router.Find(model); !ok || !who.Models.Allow(model) {
		return noModel(model)
	}
	return nil
}

// mayUseRouted is mayUse for a message that names no model: it goes by the table
// of now. The workers look again, by the table that holds then. What a model falls
// back to is the operator's choice.
func (in *Ingress) mayUseRouted(who Identity, route, text string) error {
	if len(who.Models) == 0 {
		return nil
	}
	if in.o.Models == nil {
		return fail(contracts.CodeModelUnknown, "this token is for certain models only; name one of them")
	}
	router, err := in.router()
	if err != nil {
		return err
	}
	routed, err := router.Choose("", route, text)
	if err != nil {
		return err
	}
	if !who.Models.Allow(routed.Name) {
		return fail(contracts.CodeModelUnknown, fmt.Sprintf(
			"this message would go to the model %q, which this token may not use; name one that it may", routed.Name))
	}
	return nil
}

func noModel(name string) error {
	return fail(contracts.CodeModelUnknown, fmt.Sprintf("the model %q does not exist or you do not have access to it", clip(name, 64)))
}

func (in *Ingress) router() (*contracts.Router, error) {
	if in.o.Models != nil {
		if r := in.o.Models.Router(); r != nil {
			return r, nil
		}
	}
	return nil, &contracts.Error{
		Code: contracts.CodeQueueDown, RetryAfter: full, Message: "the table of models is not known yet; try again after Retry-After",
	}
}

type modelList struct {
	Object string      `json:"object"`
	Data   []modelCard `json:"data"`
}

type modelCard struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

// listModels is GET /v1/models: what the caller may name.
func (in *Ingress) listModels(c echo.Context) error {
	who, router, err := in.asksModels(c)
	if err != nil {
		return err
	}
	list := modelList{Object: "list", Data: []modelCard{}}
	for _, name := range router.Names() {
		if who.Models.Allow(name) {
			list.Data = append(list.Data, in.card(router, name, router.Table.Models[name]))
		}
	}
	return c.JSON(http.StatusOK, list)
}

// oneModel is GET /v1/models/{model}. A name may hold slashes.
func (in *Ingress) oneModel(c echo.Context) error {
	who, router, err := in.asksModels(c)
	if err != nil {
		return err
	}
	model := strings.TrimPrefix(c.Request().URL.Path, openAIPrefix+"/models/")
	name, entry, ok := router.Find(model)
	if !ok || !who.Models.Allow(name) {
		return noModel(model)
	}
	return c.JSON(http.StatusOK, in.card(router, name, entry))
}

func (in *Ingress) asksModels(c echo.Context) (Identity, *contracts.Router, error) {
	who, err := in.authenticateBearer(c)
	if err != nil {
		return who, nil, err
	}
	if err := in.spend(c, who); err != nil {
		return who, nil, err
	}
	router, err := in.router()
	return who, router, err
}

func (in *Ingress) card(r *contracts.Router, name string, e contracts.ModelEntry) modelCard {
	since := r.Table.At
	if since.IsZero() {
		since = in.started
	}
	return modelCard{ID: name, Object: "model", Created: since.Unix(), OwnedBy: cmp.Or(e.Provider, "moltbot")}
}

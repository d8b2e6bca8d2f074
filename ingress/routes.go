package ingress

import (
	"net/http"

	"github.com/labstack/echo/v4"
)

// routes is the whole public API.
func (in *Ingress) routes() *echo.Echo {
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = in.problem
	e.IPExtractor = clientAddress(in.o.TrustedProxy)
	e.Use(in.measured, in.traced, in.requestID, in.accessLog, in.recovered())

	e.Match([]string{http.MethodGet, http.MethodPost}, "/api/health", in.health)
	e.GET("/livez", in.live)
	e.GET("/readyz", in.readyz)

	e.POST("/api/chat", in.chat)
	e.POST("/api/chat/*", in.chat)
	e.GET("/api/chat/:id", in.chatResult)
	e.GET("/api/sessions", in.listSessions)
	e.GET("/api/sessions/:id", in.showSession)
	e.GET("/api/sessions/:id/export", in.exportSession)
	e.DELETE("/api/sessions/:id", in.deleteSession)

	dingtalk, feishu := in.webhook(dingtalkPlatform()), in.webhook(feishuPlatform())
	e.POST("/dingtalk/webhook", dingtalk)
	e.POST("/dingtalk/webhook/:app", dingtalk)
	e.POST("/feishu/webhook", feishu)
	e.POST("/feishu/webhook/:app", feishu)

	if in.o.Docs != nil {
		docs := echo.WrapHandler(in.o.Docs)
		e.GET("/openapi.json", docs)
		e.GET("/docs", docs)
		e.GET("/docs/*", docs)
	}
	e.POST(openAIPrefix+"/chat/completions", in.completions)
	e.GET(openAIPrefix+"/models", in.listModels)
	e.GET(openAIPrefix+"/models/*", in.oneModel)
	return e
}

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
  persistAuthorization: false, // a token is not left behind in the browser
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
});

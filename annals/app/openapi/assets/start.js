window.ui = SwaggerUIBundle({
  urls: [
    {name: "2.5.0", url: "/openapi.json?format=2.5.0"},
    {name: "1.8.0", url: "/openapi.json?format=1.8.0"},
  ],
  dom_id: "#ui",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIStandalonePreset],
  layout: "StandaloneLayout",
});

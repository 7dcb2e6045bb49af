/* The description of the API as a page that can ask what it describes. */
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
follow();
dark.addEventListener("change", follow);

/* Swagger UI takes lines of JSON for JSON, and would put them in quotes. */
const linesAsTheyAre = {
  afterLoad() {
    const { getSampleSchema } = this.fn;
    this.fn.getSampleSchema = (schema, type, config, example) =>
      type === "application/x-ndjson" ? example : getSampleSchema(schema, type, config, example);
  },
};

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#page",
  plugins: [linesAsTheyAre],
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  defaultModelsExpandDepth: 0,
  // By default it asks a server elsewhere whether the description is valid.
  validatorUrl: null,
});

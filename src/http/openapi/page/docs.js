/* The description of the API as an interactive page. */
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
follow();
dark.addEventListener("change", follow);

/* Swagger UI would treat JSON lines as JSON, and put them in quotes. */
const linesAsTheyAre = {
  afterLoad() {
    const { getSampleSchema } = this.fn;
    this.fn.getSampleSchema = (schema, type, config, example) =>
      type === "application/x-ndjson" ? example : getSampleSchema(schema, type, config, example);
  },
};

/* The description's examples are fixed. Sent unchanged, they would count in hours of January 2020. */
function withTimesOfToday(text) {
  const dateIn = (days) => new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10);
  const dated = text.replaceAll("2020-01-10", dateIn(0)).replaceAll("2020-01-11", dateIn(1));
  return dated.replace(/\b1578\d{9}\b/g, () => String(Date.now()));
}

const description = await (await fetch("openapi.json")).text();
SwaggerUIBundle({
  spec: JSON.parse(withTimesOfToday(description)),
  dom_id: "#page",
  plugins: [linesAsTheyAre],
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  defaultModelsExpandDepth: 0,
  // By default it asks another server whether the description is valid.
  validatorUrl: null,
});

/** GET /openapi.json, and GET /docs: the same as an interactive page, with everything that it needs. */
import swaggerCss from "swagger-ui-dist/swagger-ui.css" with { type: "file" };
import swaggerJs from "swagger-ui-dist/swagger-ui-bundle.js" with { type: "file" };
import { assetRoutes, CSS, HTML, JAVASCRIPT, PAGE_HEADERS, StaticAsset } from "../static-asset.ts";
import { API_DOCUMENT } from "./document.ts";
import pageCss from "./page/docs.css" with { type: "file" };
import pageJs from "./page/docs.js" with { type: "file" };

const PAGE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <title>Hourglass API</title>
    <link rel="icon" href="data:," />
    <link rel="stylesheet" href="docs/swagger-ui.css" />
    <link rel="stylesheet" href="docs/page.css" />
  </head>
  <body>
    <nav><a href="./">← Dashboard</a></nav>
    <div id="page"></div>
    <noscript>This page needs JavaScript. What it shows is <a href="openapi.json">openapi.json</a>.</noscript>
    <script src="docs/swagger-ui.js"></script>
    <script src="docs/page.js" type="module"></script>
  </body>
</html>
`;

export function apiDocs() {
  const description = new Blob([JSON.stringify(API_DOCUMENT)]);
  return assetRoutes("api-docs", {
    "/openapi.json": new StaticAsset(description, "application/json; charset=utf-8"),
    "/docs": new StaticAsset(new Blob([PAGE]), HTML, PAGE_HEADERS),
    "/docs/page.js": new StaticAsset(Bun.file(pageJs), JAVASCRIPT),
    "/docs/page.css": new StaticAsset(Bun.file(pageCss), CSS),
    "/docs/swagger-ui.js": new StaticAsset(Bun.file(swaggerJs), JAVASCRIPT),
    "/docs/swagger-ui.css": new StaticAsset(Bun.file(swaggerCss), CSS),
  });
}

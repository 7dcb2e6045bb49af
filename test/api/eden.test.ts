/** The type for typed clients describes routes that are served, and Eden counts and reads through it. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { example } from "../../examples/eden.ts";
import { API_DOCUMENT } from "../../src/http/openapi/document.ts";
import { typedApp } from "../../src/http/typed-app.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { MODES, type Site } from "../harness/service/service.ts";

/** test/api/openapi.test.ts holds that those described are those served. */
test("its routes are among those that are described, with the same parameters", () => {
  for (const { method, path, hooks } of typedApp().routes) {
    const operation = API_DOCUMENT.paths[path]?.[method.toLowerCase() as "get" | "post"];
    const described = operation?.parameters?.filter((parameter) => parameter.in === "query");
    const typed = Object.keys((hooks as { query: { properties: object } }).query.properties);
    expect([path, described?.map(({ name }) => name).sort()]).toEqual([path, typed.sort()]);
  }
});

for (const { name, needs, open } of MODES) {
  describeWithServers(`Eden, ${name}`, needs, () => {
    let site: Site;
    beforeAll(async () => {
      site = await open();
    });
    afterAll(() => site.close());

    test("counts and reads, as its example does", async () => {
      const { url } = await site.start();
      const { accepted, total, best } = await example(url);
      expect(accepted).toBe(2);
      expect(total).toMatchObject({ clicks: 2, impressions: 1, unique_users: 2 });
      expect(best).toMatchObject({ stream: "default", clicks: 2, unique_users: 2 });
    });
  });
}

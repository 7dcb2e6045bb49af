/** The dashboard with Redis and MySQL, and with keys. variants.long.test.ts has the other ways to run it. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Browser, openBrowser } from "../../harness/browser/chromium.ts";
import type { Page } from "../../harness/browser/page.ts";
import { describeWithServers } from "../../harness/servers/servers.ts";
import { postEvent } from "../../harness/service/analytics-client.ts";
import { runCommand } from "../../harness/service/command.ts";
import { MODES, type Service, startService } from "../../harness/service/service.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import { dashboardTests, openPage } from "./dashboard-tests.ts";

dashboardTests(MODES.find(({ name }) => name === "redis+mysql")!);

describeWithServers("the dashboard of a service that asks for keys", ["chromium"], () => {
  let service: Service;
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    service = await startService({ settings: { REQUIRE_KEYS: "read" } });
    browser = openBrowser();
    page = await openPage(browser);
  });
  afterAll(async () => {
    browser.close();
    await service.stop();
  });

  const keys = (...args: readonly string[]) => runCommand({ DATA_DIR: service.dataDir }, "keys", ...args);

  /** Once the service knows of it. */
  async function created(...args: readonly string[]): Promise<{ id: string; key: string }> {
    const { output } = await keys("create", "--name", "test", "--scope", "read", "--json", ...args);
    const created = JSON.parse(output) as { id: string; key: string };
    const headers = { authorization: `Bearer ${created.key}` };
    await waitFor("the key to be known", async () => {
      return (await fetch(`${service.url}/analytics`, { headers })).status === 422;
    });
    return created;
  }

  async function give(key: string): Promise<void> {
    await page.waitToSee("#key-dialog");
    await page.type(key);
    await page.press("Enter");
    await page.waitForText("#connection", "Live");
  }

  test("a key of some streams shows those without the ledger, until it is revoked", async () => {
    await postEvent(service.port, { at: Date.now(), user: "ann", kind: "click", stream: "shop.spring" });
    await postEvent(service.port, { at: Date.now(), user: "ann", kind: "click", stream: "news" });
    const [limited, whole] = [await created("--stream", "shop.*"), await created()];
    await page.goTo(`${service.url}/?stream=shop.*`);
    await give(limited.key);
    await page.waitForText("#now-clicks", "1");
    await page.waitForText("#store-cold", (text) => text.includes("answers"));
    await page.waitForText("#top-body", (text) => text.includes("shop.spring") && !text.includes("news"));
    expect(await page.sees("#ledger")).toBe(false);
    expect(await page.text("#writers")).toBe("");
    expect((await keys("revoke", limited.id)).exitCode).toBe(0);
    await page.waitToSee("#key-dialog");
    await page.waitForText("#key-fault", (text) => text.includes("revoked"));
    await give(whole.key);
    await page.waitToSee("#ledger");
    await page.waitForText("#ledger-accepted", "2");
    await fetch(`${service.url}/analytics?user=ann`, { method: "POST" });
    await page.waitForText("#ledger-more", "1 refused: the event is not valid");
    expect(page.faults).toEqual([]);
  });
});

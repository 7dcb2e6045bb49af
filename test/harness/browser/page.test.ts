/** A click of a test arrives where it is meant, also where the page moves meanwhile. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { describeWithServers } from "../servers/servers.ts";
import { type Browser, openBrowser, servePages } from "./chromium.ts";
import { Page } from "./page.ts";

const BUTTON = '<button id="button" onclick="clicks++" onmousedown="presses++">press</button>';
const COUNTS = "<script>clicks = presses = 0</script>";

describeWithServers("a page of the browser", ["chromium"], () => {
  const pages = servePages();
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    browser = openBrowser();
    page = await Page.open(browser);
  });
  afterAll(async () => {
    browser.close();
    await pages.stop();
  });

  /** At the first such event, a line appears above the button. It counts the clicks that it gets. */
  const movingAt = (event: string) => `${COUNTS}<div id="place"></div>${BUTTON}<script>
    stray = 0;
    addEventListener("${event}", () => {
      place.innerHTML = '<p style="height: 300px" onclick="stray++" onmousedown="stray++">a line</p>';
    }, { once: true });
  </script>`;

  for (const [name, act, event, count] of [
    ["a click", () => page.click("#button"), "pointerdown", "clicks"],
    ["a drag", () => page.drag("#button", 0.25, 0.75), "mousemove", "presses"],
  ] as const)
    test(`${name} is repeated until it arrives, and is no click on anything else`, async () => {
      await page.goTo(pages.add(movingAt(event)));
      await act();
      expect(await page.ask(`[${count}, stray]`)).toEqual([1, 0]);
    });

  test("a click that leads to another page arrives once", async () => {
    const there = pages.add("<p id='there'>there</p>");
    await page.goTo(pages.add(`<a id="link" href="${there}">go</a>`));
    await page.click("#link");
    await page.waitToSee("#there");
  });
});

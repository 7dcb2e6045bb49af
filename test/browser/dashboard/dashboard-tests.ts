/** The dashboard in a real browser shows the API's answers, by mouse, keyboard or screen reader. */
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { gzipSync } from "node:zlib";
import axe from "axe-core";
import { DAY_MS, HOUR_MS, hourOf } from "../../../src/domain/event.ts";
import { type Browser, openBrowser } from "../../harness/browser/chromium.ts";
import { Page } from "../../harness/browser/page.ts";
import { startKeyProxy } from "../../harness/servers/key-proxy.ts";
import { describeWithServers } from "../../harness/servers/servers.ts";
import { postEvent } from "../../harness/service/analytics-client.ts";
import type { MODES, Service, Site } from "../../harness/service/service.ts";
import { roomInHour, waitFor } from "../../harness/service/wait-for.ts";

export const PAGE_MAX_BYTES = 100_000;
/** Google's bound for a page that does not jump about is 0.1. */
export const SHIFT_MAX = 0.01;

/** An event is seen within two seconds, and here by a machine that is busy. */
const SEEN_MAX_MS = 20_000;

export interface Variant {
  readonly name: string;
  readonly needs: (typeof MODES)[number]["needs"];
  open(): Promise<Pick<Site, "start" | "close" | "servers">>;
}

export interface Series {
  readonly rows: readonly { clicks: number; impressions: number; ctr: number | null; unique_users: number }[];
}

interface Box {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

export const grouped = (count: number) => count.toLocaleString("en");
export const percent = (ctr: number | null) => (ctr === null ? "–" : `${(ctr * 100).toFixed(2)}%`);

export async function openPage(browser: Browser): Promise<Page> {
  const page = await Page.open(browser);
  await page.setSize(1_280, 900);
  return page;
}

export function dashboardTests({ name, needs, open }: Variant): void {
  describeWithServers(`the dashboard, ${name}`, [...needs, "chromium"], () => {
    let site: Awaited<ReturnType<Variant["open"]>>;
    let service: Service;
    let browser: Browser;
    let page: Page;

    beforeAll(async () => {
      site = await open();
      service = await site.start({ RESPECT_DNT: "1" });
      browser = openBrowser();
      page = await openPage(browser);
    });
    beforeEach(roomInHour);
    afterAll(async () => {
      browser.close();
      await site.close();
    });

    const show = (query: string) => page.goTo(`${service.url}/${query}`);
    const addressQuery = async () => new URLSearchParams(await page.ask<string>("location.search"));

    async function post(events: readonly object[]): Promise<void> {
      const answer = await fetch(`${service.url}/events`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(events),
      });
      expect(await answer.json()).toMatchObject({ accepted: events.length });
    }

    let filling: Promise<void> | undefined;
    const filled = () => {
      filling ??= fill();
      return filling;
    };

    /** Posts events to three streams, in each of the last 50 hours. */
    async function fill(): Promise<void> {
      const thisHour = hourOf(Date.now());
      for (const [n, stream] of ["shop.spring", "shop.autumn", "news"].entries()) {
        const events = Array.from({ length: 50 }, (_, i) => {
          const of = (event: string, user: number) => {
            return { timestamp: thisHour - i * HOUR_MS, user: `user-${user}`, event, stream };
          };
          const impressions = Array.from({ length: 3 + ((i + n) % 7) }, (__, user) => of("impression", user));
          return [...impressions, ...impressions.slice(0, 1 + n).map((_event, user) => of("click", user))];
        });
        await post(events.flat());
      }
    }

    async function axeViolations(): Promise<string[]> {
      await page.ask(`(() => { if (!window.axe) { ${axe.source} } return true })()`);
      const { violations } = await page.ask<axe.AxeResults>("axe.run(document, { resultTypes: ['violations'] })");
      return violations.flatMap(({ id, nodes }) =>
        nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`),
      );
    }

    test("with no events it says so, and how to send one", async () => {
      await show("?stream=nothing");
      await page.waitToSee("#chart-empty");
      expect(await page.text("#empty-command")).toContain(`${service.url}/analytics?`);
      await page.waitForText("#connection", "Live");
      await page.waitForText("#now-clicks", "0");
      expect(await axeViolations()).toEqual([]);
      await page.ask("(() => { navigator.clipboard.writeText = async (text) => { window.copied = text } })()");
      await page.click("#copy");
      await page.waitForText("#copy", "Copied");
      expect(await page.ask<string>("copied")).toBe(await page.text("#empty-command"));
    });

    test("an event is seen soon after its 204", async () => {
      await show("?stream=first");
      await page.waitForText("#now-clicks", "0");
      await postEvent(service.port, { at: Date.now(), user: "ann", kind: "click", stream: "first" });
      const startedMs = performance.now();
      await waitFor("the click", async () => (await page.text("#now-clicks")) === "1");
      expect(performance.now() - startedMs).toBeLessThan(SEEN_MAX_MS);
      const { instance } = (await (await fetch(`${service.url}/ledger`)).json()) as {
        instance: { accepted: number };
      };
      await page.waitForText("#ledger-accepted", grouped(instance.accepted));
      await page.waitForText("#ledger-persisted", grouped(instance.accepted));
    });

    test("its numbers are those of the API", async () => {
      await filled();
      await show("?stream=shop.spring&range=7d&metric=impressions");
      await page.click("#table-toggle");
      await page.waitToSee("#chart-table");
      const from = Date.now() - (Date.now() % DAY_MS) - 6 * DAY_MS;
      const answer = await fetch(`${service.url}/series?stream=shop.spring&from=${from}`);
      const { rows } = (await answer.json()) as Series;
      const expected = rows.map((row) => [row.clicks, row.impressions, row.ctr, row.unique_users] as const);
      await waitFor("the table", async () => {
        const shown = await page.ask<string[][]>(
          "[...document.querySelectorAll('#chart-table-body tr')].map((line) => " +
            "[...line.querySelectorAll('td')].map((cell) => cell.textContent))",
        );
        expect(shown.map((cells) => cells.slice(0, 4))).toEqual(
          expected.map(([c, i, ctr, u]) => [grouped(c), grouped(i), percent(ctr), grouped(u)]).reverse(),
        );
        return true;
      });
      const now = rows.at(-1)!;
      expect(await page.text("#now-clicks")).toBe(grouped(now.clicks));
      expect(await page.text("#now-impressions")).toBe(grouped(now.impressions));
      expect(await page.text("#now-ctr")).toBe(percent(now.ctr));
      expect(await page.text("#now-unique_users")).toBe(grouped(now.unique_users));
      expect(await axeViolations()).toEqual([]);
      const csv = await page.ask<string>("fetch(document.getElementById('csv').href).then((answer) => answer.text())");
      expect(csv.split("\n").length).toBe(rows.length + 2);
    });

    test("the current hour of the chart follows the live numbers", async () => {
      await filled();
      await show("?stream=news");
      await page.waitToSee("#plot");
      await page.click("#table-toggle");
      const newest = "#chart-table-body tr:first-child td:nth-of-type(2)";
      const before = Number(await page.text(newest));
      await postEvent(service.port, { at: Date.now(), user: "zoe", kind: "impression", stream: "news" });
      await page.waitForText(newest, String(before + 1));
    });

    test("whole hours are compared with the same hours of the day before, and rates in points", async () => {
      await filled();
      await show("?stream=shop.spring&metric=ctr");
      await page.waitToSee("#plot");
      await waitFor("the comparison", async () => {
        const wholeTo = hourOf(Date.now());
        const totals = [0, 1].map(async (days) => {
          const to = wholeTo - days * DAY_MS;
          const range = `from=${to - 23 * HOUR_MS}&to=${to}`;
          const answer = await fetch(`${service.url}/series?stream=shop.spring&step=total&${range}`);
          return ((await answer.json()) as { total: Series["rows"][number] }).total;
        });
        const [now, before] = (await Promise.all(totals)) as [Series["rows"][number], Series["rows"][number]];
        const points = ((now.ctr! - before.ctr!) * 100).toFixed(2).replace(/\.?0+$/, "");
        const until = new Date(wholeTo).toISOString().slice(11, 16);
        const change = `${Number(points) > 0 ? "+" : ""}${points} points, up to ${until}`;
        expect(await page.text("#chart-sums .change")).toBe(change);
        expect(await page.text("#chart-sums .legend-before b")).toBe(percent(before.ctr));
        return true;
      });
      const before = await page.text("#chart-sums .legend-before");
      await page.choose("#compare", "week");
      await page.waitForText("#chart-sums .legend-before", (text) => text !== "" && text !== before);
      expect((await addressQuery()).get("compare")).toBe("week");
    });

    test("the unfinished step is a separate point, with a mark", async () => {
      await filled();
      await show("?stream=shop.spring");
      await page.waitToSee(".so-far");
      await show("?stream=shop.spring&from=2026-01-01T00:00Z&to=2026-01-02T00:00Z");
      await page.waitToSee("#chart-empty");
      expect(await page.sees(".so-far")).toBe(false);
    });

    test("days are those of the chosen time zone, and the total does not depend on the step", async () => {
      await filled();
      const total = () => page.text("#chart-sums .legend-now b");
      // Its midnights cut hours, whose parts are counted from rows.
      await show("");
      await page.waitForText("#ledger-pending", "0");
      await show("?stream=shop.spring&range=7d&step=day&tz=Asia/Kolkata");
      await page.waitToSee("#plot");
      expect(await page.text("#chart-span")).toContain("Asia/Kolkata");
      await page.click("#table-toggle");
      const answer = await fetch(
        `${service.url}/series?stream=shop.spring&step=day&tz=Asia/Kolkata&from=${Date.now() - 3 * DAY_MS}`,
      );
      const { rows } = (await answer.json()) as Series;
      // The day before yesterday and yesterday are whole in both.
      await waitFor("the days of India", async () => {
        for (const n of [2, 3]) {
          const clicks = await page.text(`#chart-table-body tr:nth-child(${n}) td`);
          expect(clicks).toBe(grouped(rows.at(-n)!.clicks));
        }
        return true;
      });
      await show("?stream=shop.spring&range=7d&step=day");
      await page.waitToSee("#plot");
      const byDay = await total();
      await page.click("#step-hour");
      await page.waitForText("#chart-title", "Clicks per hour");
      await page.waitToSee("#plot");
      expect(await total()).toBe(byDay);
      await page.choose("#tz", "Asia/Tokyo");
      await page.waitForText("#chart-span", (text) => text.includes("Asia/Tokyo"));
      expect((await addressQuery()).get("tz")).toBe("Asia/Tokyo");
      await page.click("#table-toggle");
      const hour = new Date(hourOf(Date.now()) + 9 * HOUR_MS).toISOString().slice(11, 16);
      await page.waitForText("#chart-table-body tr:first-child th", (text) => text.includes(`, ${hour}–`));
    });

    test("chosen dates are whole days, and 12 months are shown by month", async () => {
      await filled();
      await show("?stream=shop.spring");
      await page.waitToSee("#plot");
      await page.click("#range-dates");
      await page.ask(`(() => {
        document.getElementById("first-day").value = "2026-01-10";
        document.getElementById("last-day").value = "2026-01-09";
      })()`);
      await page.click("#dates button");
      expect((await addressQuery()).has("from")).toBe(false);
      await page.ask(`document.getElementById("last-day").value = "2026-01-12"`);
      await page.click("#dates button");
      await page.waitForText("#chart-span", "Sat 10 Jan – Mon 12 Jan (UTC)");
      expect((await addressQuery()).get("to")).toBe("2026-01-13T00:00Z");
      await page.click("#range-12mo");
      await page.waitForText("#chart-title", "Clicks per month");
      await page.waitToSee("#plot");
      await page.click("#table-toggle");
      const rows = await page.ask<number>("document.querySelectorAll('#chart-table-body tr').length");
      expect(rows).toBe(12);
      expect(await axeViolations()).toEqual([]);
    });

    test("errors in the address are shown", async () => {
      await filled();
      await show("?range=90d&tz=Mars&from=now");
      const text = await page.waitForText("#address-fault", (shown) => shown.includes("range=90d"));
      expect(text).toContain("tz=Mars");
      expect(text).toContain("from=now");
      await page.waitToSee("#plot");
      expect(await axeViolations()).toEqual([]);
      await page.click("#range-7d");
      expect(await page.sees("#address-fault")).toBe(false);
    });

    test("choosing a branch limits the list to its streams", async () => {
      await filled();
      await show("?stream=shop.*");
      await page.waitForText("#top-body", (text) => text.includes("shop.spring"));
      expect(await page.text("#top-body")).not.toContain("news");
    });

    test("the tooltip stays within the chart, and off the point that it describes", async () => {
      await filled();
      await page.setSize(360, 740);
      await show("?stream=shop.spring");
      await page.waitToSee("#plot");
      for (const share of [0.01, 0.3, 0.5, 0.7, 0.99]) {
        await page.hover("#plot .u-over", share);
        await page.waitToSee(".tooltip");
        const [tip, point, plot] = await page.ask<[Box, Box, Box]>(
          "['.tooltip', '.u-cursor-pt:not(.u-off)', '#plot'].map((each) => " +
            "[...document.querySelectorAll(each)].at(-1).getBoundingClientRect().toJSON())",
        );
        expect([tip.left >= plot.left, tip.right <= plot.right + 1]).toEqual([true, true]);
        const isApart = tip.right <= point.left || tip.left >= point.right || tip.top >= point.bottom;
        expect([share, isApart || tip.bottom <= point.top]).toEqual([share, true]);
        // The line stands on the row, wherever the pointer is between two.
        const line = await page.ask<Box>("document.querySelector('.u-cursor-x').getBoundingClientRect().toJSON()");
        expect(Math.abs(line.left - (point.left + point.right) / 2)).toBeLessThan(2);
      }
      await page.setSize(1_280, 900);
    });

    test("touch targets are at least 44 pixels high", async () => {
      await filled();
      await page.setSize(360, 740);
      await show("?stream=shop.spring");
      await page.waitForText("#top-body", (text) => text.includes("news"));
      await page.click("#picker-button");
      await page.waitForText("#picker-list", (text) => text.includes("news"));
      const small = await page.ask<
        string[]
      >(`[...document.querySelectorAll("button, select, .segments label, a, .panel li")]
        .filter((each) => each.checkVisibility() && !each.classList.contains("skip"))
        .filter((each) => each.getBoundingClientRect().height < 44)
        .map((each) => each.outerHTML)`);
      expect(small).toEqual([]);
      await page.setSize(1_280, 900);
    });

    test("the graphs of the last minute survive a reload", async () => {
      await filled();
      await show("?stream=shop.spring");
      const points = () => page.ask<number>("document.getElementById('spark-clicks').points.length");
      // On a busy machine they are far apart: a reading that takes long is followed by 19 times as long a pause.
      await waitFor("some readings", async () => (await points()) >= 5);
      await page.reload();
      await waitFor("a message", async () => (await points()) > 0);
      expect(await points()).toBeGreaterThanOrEqual(4);
    });

    test("events that are not counted are shown with the reason", async () => {
      await fetch(`${service.url}/pixel.gif?stream=dnt`, { headers: { dnt: "1" } });
      await show("");
      await page.waitForText("#ledger-more", (text) => text.includes("1 not counted: browsers sent Do Not Track"));
    });

    test("the page of the API leads back, and tries times of today", async () => {
      await page.goTo(`${service.url}/docs/`);
      await page.waitToSee("#operations-Events-postEvents");
      await page.click("#operations-Counts-getSeries button");
      await page.waitToSee("#operations-Counts-getSeries [data-param-name=from] input");
      const from = await page.ask<string>(
        "document.querySelector('#operations-Counts-getSeries [data-param-name=from] input').value",
      );
      expect(Math.abs(Date.parse(from) - Date.now())).toBeLessThan(2 * DAY_MS);
      expect(await page.ask<string>("document.body.innerText")).not.toContain("15786");
      await page.click("nav a");
      await page.waitToSee("#picker-button");
    });

    test("dragging zooms; the address says so, and brings it back", async () => {
      await filled();
      await show("?stream=shop.autumn");
      await page.waitToSee("#plot");
      await page.drag("#plot .u-over", 0.25, 0.75);
      await page.waitToSee("#zoom-out");
      const zoomed = await addressQuery();
      const hours = (Date.parse(zoomed.get("to")!) - Date.parse(zoomed.get("from")!)) / HOUR_MS;
      expect(hours).toBeGreaterThan(8);
      expect(hours).toBeLessThan(16);
      await page.waitToSee("#plot");
      const span = await page.text("#chart-span");
      await page.reload();
      await page.waitForText("#chart-span", span);
      expect(await page.text("#picker-name")).toBe("shop.autumn");
      await page.click("#zoom-out");
      await waitFor("the range", async () => !(await addressQuery()).has("from"));
      await page.back();
      await page.waitForText("#chart-span", span);
    });

    test("the stream is chosen by keys: / opens, typing finds, Enter takes, Escape leaves", async () => {
      await filled();
      await show("");
      await page.waitToSee("#plot");
      await page.press("/");
      await page.waitToSee("#picker-panel");
      await page.waitForText("#picker-list", (text) => text.includes("shop.spring"));
      expect(await axeViolations()).toEqual([]);
      await page.type("spri");
      await page.waitForText("#picker-list", (text) => text.startsWith("shop.spring") && !text.includes("news"));
      await page.press("Enter");
      await page.waitForText("#picker-name", "shop.spring");
      expect((await addressQuery()).get("stream")).toBe("shop.spring");
      await page.press("/");
      await page.type("shop");
      await page.waitForText("#picker-list", (text) => text.startsWith("shop.* (all of this branch)"));
      await page.press("Escape");
      expect(await page.sees("#picker-panel")).toBe(false);
      expect(await page.ask("document.activeElement.id")).toBe("picker-button");
    });

    test("a stream of the list is chosen, marked, and told apart", async () => {
      await filled();
      await show("");
      await page.waitForText("#top-body", (text) => text.includes("news"));
      const first = await page.text("#top-body tr:first-child button");
      const { streams } = (await (await fetch(`${service.url}/streams`)).json()) as {
        streams: { stream: string }[];
      };
      expect(first).toBe(streams[0]!.stream);
      await page.click("#top-body tr:first-child button");
      await page.waitForText("#picker-name", first);
      await page.waitToSee("#top-body tr:first-child button[aria-current=true]");
    });

    test("the chart is read by keys, and zoomed", async () => {
      await filled();
      await show("?stream=shop.spring");
      await page.waitToSee("#plot");
      await page.ask("document.getElementById('plot').focus()");
      await page.press("ArrowLeft");
      await page.press("ArrowLeft");
      expect(await page.ask<string>("document.getElementById('spoken').textContent")).toMatch(
        /^\w+,? \d+ \w+, \d\d:00–\d\d:00: \d+ clicks, \d+ in the period before$/,
      );
      await page.press("+");
      await page.waitToSee("#zoom-out");
      await waitFor("the focus", () => page.ask("document.activeElement.id === 'plot'"));
      await page.press("Escape");
      await waitFor("the range", async () => !(await page.sees("#zoom-out")));
    });

    test("every control is reachable with the Tab key", async () => {
      await filled();
      await show("");
      await page.waitForText("#top-body", (text) => text.includes("news"));
      await page.waitToSee("#plot");
      const reached = new Set<string>();
      for (let i = 0; i < 40; i++) {
        await page.press("Tab");
        reached.add(await page.ask<string>("document.activeElement.id || document.activeElement.className"));
      }
      for (const id of ["theme", "picker-button", "range-24h", "step-hour", "metric-clicks", "csv", "plot", "stream"])
        expect(reached).toContain(id);
    });

    test("it follows the system's dark mode until a theme is chosen, and remembers the choice", async () => {
      await filled();
      const theme = () => page.ask<string>("document.documentElement.dataset.theme");
      await page.setColours("dark");
      await show("?stream=shop.spring");
      expect(await theme()).toBe("dark");
      await page.waitToSee("#plot");
      await page.waitForText("#connection", "Live");
      expect(await axeViolations()).toEqual([]);
      await page.click("#theme");
      expect(await theme()).toBe("light");
      await page.reload();
      expect(await theme()).toBe("light");
      await page.click("#theme");
      expect(await theme()).toBe("dark");
      await page.setColours("light");
      await waitFor("the system's", async () => (await theme()) === "light");
    });

    test("it fits a narrow screen, and does not jump while it is loaded", async () => {
      await filled();
      // So high that the whole page is seen: a shift below the fold counts too.
      await page.setSize(360, 2_400);
      await show("?stream=shop.spring");
      await page.waitToSee("#plot");
      await page.waitForText("#connection", "Live");
      expect(await page.ask<number>("document.documentElement.scrollWidth")).toBeLessThanOrEqual(360);
      expect(await axeViolations()).toEqual([]);
      const shift = await page.ask<number>(`new Promise((done) => {
        let sum = 0;
        const add = (list) => { for (const { value } of list.getEntries()) sum += value; };
        new PerformanceObserver(add).observe({ type: "layout-shift", buffered: true });
        requestAnimationFrame(() => requestAnimationFrame(() => done(sum)));
      })`);
      expect(shift).toBeLessThan(SHIFT_MAX);
      await page.setSize(1_280, 900);
    });

    test("a required key is kept out of the address", async () => {
      await filled();
      await using guarded = startKeyProxy(service.url, "the right key");
      await page.goTo(`${guarded.url}/?stream=shop.spring`);
      await page.waitToSee("#key-dialog");
      expect(await axeViolations()).toEqual([]);
      await page.type("a wrong key");
      await page.press("Enter");
      await page.waitForText("#key-fault", (text) => text.includes("refused"));
      await page.type("the right key");
      await page.press("Enter");
      await page.waitForText("#connection", "Live");
      await page.waitToSee("#plot");
      expect(await page.ask<string>("location.href")).toBe(`${guarded.url}/?stream=shop.spring`);
      await page.reload();
      await page.waitForText("#connection", "Live");
      expect(guarded.targets.filter((target) => target.includes("key"))).toEqual([]);
    });

    if (needs.includes("redis")) {
      test("stores that are unavailable are named, each by itself, until they are back", async () => {
        await filled();
        const { redis, mariaDb } = site.servers!;
        await show("?stream=shop.spring");
        await page.waitForText("#connection", "Live");
        await mariaDb.kill();
        await page.waitForText("#notices", (text) => text.includes("MySQL is unavailable"));
        await page.waitForText("#store-cold", (text) => text.includes("unavailable"));
        await page.waitForText("#connection", "Live");
        await postEvent(service.port, {
          at: Date.now(),
          user: "meanwhile",
          kind: "click",
          stream: "shop.spring",
        });
        await page.waitForText("#ledger-pending", "1");
        expect(await axeViolations()).toEqual([]);
        await mariaDb.start();
        await page.waitForText("#notices", "");
        await page.waitForText("#ledger-pending", "0");
        await redis.kill();
        await page.waitForText("#notices", (text) => text.includes("Redis is unavailable"));
        await page.waitForText("#store-hot", (text) => text.includes("unavailable"));
        expect(await page.text("#store-cold")).toContain("answers");
        expect(await page.text("#notices")).not.toContain("MySQL is unavailable");
        await page.waitForText("#connection", (text) => /^No new numbers since \d\d:\d\d:\d\d$/.test(text));
        await redis.start();
        await page.waitForText("#connection", "Live");
        await page.waitForText("#notices", "");
        await page.waitForText("#store-hot", (text) => text.includes("answers"));
      });
    }

    test("a service that has ended is reported, and found again", async () => {
      await show("?stream=shop.spring");
      await page.waitForText("#connection", "Live");
      const clicks = await page.text("#now-clicks");
      await service.kill("SIGTERM");
      await page.waitForText("#connection", (text) => text.startsWith("Connection lost"));
      expect(await axeViolations()).toEqual([]);
      await service.start();
      await page.waitForText("#connection", "Live");
      await page.waitForText("#now-clicks", clicks);
      expect(await page.text("#notices")).toBe("");
    });

    test("it is small, runs without errors, and never violates its content security policy", async () => {
      const html = await (await fetch(service.url)).text();
      const files = Array.from(html.matchAll(/(?:src|href)="(dashboard\/[^"]+)"/g), (found) => found[1]!);
      const texts = await Promise.all(
        [...new Set(files)].map(async (file) => (await fetch(`${service.url}/${file}`)).text()),
      );
      const bytes = [html, ...texts].reduce((sum, text) => sum + gzipSync(text).length, 0);
      console.log(`the dashboard: ${bytes} bytes gzipped, in ${texts.length + 1} files`);
      expect(bytes).toBeLessThan(PAGE_MAX_BYTES);
      expect(page.faults).toEqual([]);
    });
  });
}

/**
 * Pixel, beacon, redirect, snippet and CORS in a real browser, from pages of another origin. Their counts are read back
 * from the service.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { HOUR_MS, hourOf } from "../../src/domain/event.ts";
import { type Browser, openBrowser, servePages } from "../harness/browser/chromium.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { readHour } from "../harness/service/analytics-client.ts";
import { ask } from "../harness/service/http-connection.ts";
import { MODES, type Service, type Site } from "../harness/service/service.ts";
import { waitFor } from "../harness/service/wait-for.ts";

for (const { name, needs, open } of MODES) {
  describeWithServers(`Chromium, ${name}`, [...needs, "chromium"], () => {
    const startedAt = Date.now();
    const expected = new Map<string, [number, number, number]>();
    const pages = servePages();
    /** The same pages under another name: an origin that may not read answers. */
    const strangers = pages.origin.replace("127.0.0.1", "localhost");
    let site: Site;
    let service: Service;
    let browser: Browser;
    let view: Bun.WebView;

    beforeAll(async () => {
      site = await open();
      service = await site.start({
        REDIRECT_ORIGINS: pages.origin,
        CORS_ORIGINS: pages.origin,
        RESPECT_DNT: "1",
      });
      browser = openBrowser();
      ({ view } = browser);
    });
    afterAll(async () => {
      browser.close();
      await Promise.all([pages.stop(), site.close()]);
    });

    /** Clicks, impressions and users of a stream, in the hours since this began. */
    async function countsOf(stream: string): Promise<[number, number, number]> {
      const hours = Array.from({ length: (hourOf(Date.now()) - hourOf(startedAt)) / HOUR_MS + 1 }, (_, i) => i);
      const counts = await Promise.all(hours.map((i) => readHour(service.port, startedAt + i * HOUR_MS, stream)));
      const sum = (of: (count: (typeof counts)[number]) => number) => counts.map(of).reduce((a, b) => a + b);
      return [sum((c) => c.clicks), sum((c) => c.impressions), Math.max(...counts.map((c) => c.uniqueUsers))];
    }

    async function expectCounts(stream: string, ...counts: [number, number, number]): Promise<void> {
      expected.set(stream, counts);
      await waitFor(`${stream} to have its counts`, async () => {
        expect(await countsOf(stream)).toEqual(counts);
        return true;
      });
    }

    const openPage = (html: string) => view.navigate(pages.add(html.replaceAll("SERVICE", service.url)));
    const openAsStranger = (html: string) => {
      const page = pages.add(html.replaceAll("SERVICE", service.url));
      return view.navigate(page.replace(pages.origin, strangers));
    };

    /** Loaded to its end, which would else be taken for that of the page that is opened next. */
    const arrivedAt = (url: string) =>
      waitFor(`${url} to be loaded`, () => {
        return view.evaluate<boolean>(`document.readyState === "complete" && location.href === ${JSON.stringify(url)}`);
      });

    test("an image counts an impression, of one visitor however often it is loaded", async () => {
      await openAsStranger('<img id="pixel" src="SERVICE/pixel.gif?stream=pixel">');
      expect(await view.evaluate("[pixel.naturalWidth, pixel.naturalHeight]")).toEqual([1, 1]);
      await expectCounts("pixel", 0, 1, 1);
      await view.reload();
      await expectCounts("pixel", 0, 2, 1);
    });

    test("a pixel that is refused is no image", async () => {
      await openAsStranger('<img id="pixel" src="SERVICE/pixel.gif?stream=bad&user=">');
      expect(await view.evaluate("pixel.naturalWidth")).toBe(0);
      await expectCounts("bad", 0, 0, 0);
    });

    test("sendBeacon reaches /analytics and /beacon from anywhere, without a preflight", async () => {
      await openAsStranger("");
      const send = (path: string, data: string) =>
        view.evaluate<boolean>(`navigator.sendBeacon("${service.url}${path}"${data})`);
      expect(await send(`/analytics?timestamp=${Date.now()}&user=ann&click&stream=beacon`, ', ""')).toBe(true);
      expect(await send("/beacon?stream=beacon&impression", "")).toBe(true);
      expect(await send("/beacon?stream=beacon&click&user=ann", ', "a text"')).toBe(true);
      await expectCounts("beacon", 2, 1, 2);
    });

    test("a link by way of /r leads to its page, and counts a click", async () => {
      const page = pages.add("there");
      await openPage(`<a id="link" href="SERVICE/r?stream=link&to=${encodeURIComponent(`${page}?a=1&b=2#c`)}">go</a>`);
      await view.click("#link");
      await arrivedAt(`${page}?a=1&b=2#c`);
      expect(await view.evaluate("document.body.innerText")).toBe("there");
      await expectCounts("link", 1, 0, 1);
    });

    test("the snippet counts what is seen, once, and what is clicked", async () => {
      const script = '<script src="SERVICE/hourglass.js" data-stream="snippet" defer></script>';
      const tall = '<div style="height: 2000px"></div>';
      const box = (id: string, stream: string) =>
        `<div id="${id}" data-hourglass-impression="${stream}" style="height: 200px">${id}</div>`;
      await openPage(`${script}
        ${box("top", "")}
        <button id="button" data-hourglass-click><b id="inner">press</b></button>
        <div style="height: 200px"></div>
        <div id="hidden" data-hourglass-impression="snippet.hidden" style="display: none"></div>
        <div data-hourglass-impression="snippet.part"
          style="position: absolute; top: 0; width: 1px; height: 1600px"></div>
        ${tall}${box("middle", "snippet.middle")}${tall}${box("bottom", "snippet.bottom")}${tall}
        <div id="large" data-hourglass-impression="snippet.large" style="height: 20000px"></div>`);
      await expectCounts("snippet", 0, 1, 1);
      await view.click("#inner");
      await expectCounts("snippet", 1, 1, 1);
      await expectCounts("snippet.middle", 0, 0, 0);
      await view.scrollTo("#middle");
      await expectCounts("snippet.middle", 0, 1, 1);
      for (const place of ["#top", "#middle", "#top"]) {
        await view.scrollTo(place);
        // What is seen is told once per frame.
        await view.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))");
      }
      await view.evaluate("document.body.prepend(middle)");
      const late = `<section>${box("late", "snippet.late")}</section>`;
      await view.evaluate(`document.body.insertAdjacentHTML("afterbegin", ${JSON.stringify(late)})`);
      await view.scrollTo("#late");
      await expectCounts("snippet.late", 0, 1, 1);
      await view.scrollTo("#button");
      await view.click("#button", { button: "middle" });
      await view.click("#button", { button: "right" });
      await expectCounts("snippet", 2, 1, 1);
      await view.evaluate("large.scrollIntoView()");
      await expectCounts("snippet.large", 0, 1, 1);
      for (const part of ["hidden", "part", "bottom"]) await expectCounts(`snippet.${part}`, 0, 0, 0);
    });

    test("the snippet names the user that it is given, and its last click survives the page", async () => {
      const there = pages.add("there");
      await openPage(`<script src="SERVICE/hourglass.js" data-stream="users" data-user="ann &amp; bob" defer></script>
        <a id="link" href="${there}" data-hourglass-click data-hourglass-impression>go</a>`);
      await view.click("#link");
      await arrivedAt(there);
      await expectCounts("users", 1, 1, 1);
      const users = await waitFor("the rows", async () => {
        const events = await site.cold.events("users");
        return events.length === 2 && events.map(({ user }) => user);
      });
      expect(users).toEqual(["ann & bob", "ann & bob"]);
    });

    const attributes = 'src="SERVICE/hourglass.js" data-stream';
    const button = (id: string) => `<button id="${id}" data-hourglass-click>${id}</button>`;

    async function errorsOf(act: () => Promise<unknown>): Promise<string[]> {
      await view.evaluate(`(() => {
        window.errors = [];
        addEventListener("error", ({ message }) => errors.push(message));
      })()`);
      await act();
      return await view.evaluate<string[]>("errors");
    }

    test("a click on the document, a text or the window counts nothing, and throws nothing", async () => {
      await openPage(`<script ${attributes}="odd" defer></script>${button("press")}`);
      const errors = await errorsOf(() =>
        view.evaluate(`(() => {
          for (const target of [document, document.documentElement, press.firstChild, window])
            target.dispatchEvent(new MouseEvent("click", { bubbles: true }));
        })()`),
      );
      expect(errors).toEqual([]);
      // The text is within a button that counts.
      await expectCounts("odd", 1, 0, 1);
    });

    const LOADINGS: Readonly<Record<string, string>> = {
      "a module": '<script type="module" src="SERVICE/hourglass.js" data-stream="STREAM"></script>',
      "an import": '<script type="module">import "SERVICE/hourglass.js?stream=STREAM"</script>',
      "an inserted element without attributes": `<script>
        document.head.append(Object.assign(document.createElement("script"),
          { src: "SERVICE/hourglass.js?stream=STREAM" }))</script>`,
      "settings in a global": `<script>hourglassSettings = { stream: "STREAM", url: "SERVICE" }</script>
        <script type="module">
          const text = await (await fetch("SERVICE/hourglass.js")).text();
          document.head.append(Object.assign(document.createElement("script"), { textContent: text }));
        </script>`,
      "another host and path": `<script src="/copy/hourglass.js" data-stream="STREAM" data-url="SERVICE"></script>`,
    };
    for (const [loading, html] of Object.entries(LOADINGS))
      test(`the snippet counts when it is loaded by ${loading}`, async () => {
        const stream = `loaded-${loading.replaceAll(" ", "-")}`;
        pages.addScript("/copy/hourglass.js", await (await fetch(`${service.url}/hourglass.js`)).text());
        const impression = "<p data-hourglass-impression>seen</p>";
        await openPage(`${html.replaceAll("STREAM", stream)}${button("press")}${impression}`);
        await expectCounts(stream, 0, 1, 1);
        expect(await errorsOf(() => view.click("#press"))).toEqual([]);
        await expectCounts(stream, 1, 1, 1);
      });

    test("without the address of the service the snippet warns once, and throws nothing", async () => {
      const source = await (await fetch(`${service.url}/hourglass.js`)).text();
      await openPage(`<script>warnings = []; console.warn = (...args) => warnings.push(args.join(" "))</script>
        <script>${source}</script>${button("press")}`);
      expect(await errorsOf(() => view.click("#press"))).toEqual([]);
      await view.click("#press");
      const warnings = await view.evaluate<string[]>("warnings");
      expect(warnings).toEqual([expect.stringContaining("the address of the service is not known")]);
    });

    test("a label passes one click on, and it counts once; so does a script that is loaded twice", async () => {
      const script = `<script ${attributes}="labels" defer></script>`;
      await openPage(`${script}${script}
        <label id="around" data-hourglass-click><span id="text">text</span><input type="checkbox" id="box"></label>
        <div data-hourglass-click><label for="other" id="before">for</label><input type="checkbox" id="other"></div>
        <div data-hourglass-click><p data-hourglass-click="labels.nested" id="nested">nested</p></div>`);
      await view.click("#text");
      await expectCounts("labels", 1, 0, 1);
      expect(await view.evaluate("box.checked")).toBe(true);
      await view.click("#box");
      await expectCounts("labels", 2, 0, 1);
      await view.click("#before");
      await expectCounts("labels", 3, 0, 1);
      await view.click("#nested");
      await expectCounts("labels.nested", 1, 0, 1);
      await view.evaluate("(() => { box.focus() })()");
      await view.press("Space");
      await expectCounts("labels", 4, 0, 1);
    });

    test("clicks in open shadow roots count", async () => {
      await openPage(`<script ${attributes}="shadow" defer></script><div id="host"></div>
        <div id="marked" data-hourglass-click="shadow.host"></div>
        <script>
          for (const [id, html] of [["host", '<button data-hourglass-click>in</button>'], ["marked", "<b>in</b>"]])
            document.getElementById(id).attachShadow({ mode: "open" }).innerHTML = html;
        </script>`);
      await view.evaluate("host.shadowRoot.querySelector('button').click()");
      await expectCounts("shadow", 1, 0, 1);
      await view.evaluate("marked.shadowRoot.querySelector('b').click()");
      await expectCounts("shadow.host", 1, 0, 1);
    });

    test("sendBeacon brings many events to /events from anywhere, without a preflight", async () => {
      await openAsStranger("");
      const sent = await view.evaluate<boolean>(`(() => {
        const events = [1, 2].map((n) => ({ user: "user-" + n, event: "click", stream: "many" }));
        const lines = events.map((event) => JSON.stringify(event)).join("\\n");
        return [JSON.stringify(events), lines, new Blob([lines], { type: "text/plain" })].every((body) =>
          navigator.sendBeacon("${service.url}/events", body));
      })()`);
      expect(sent).toBe(true);
      await expectCounts("many", 6, 0, 2);
    });

    test("CORS: pages of a listed origin may read and post, others may not", async () => {
      const target = `/analytics?timestamp=${Date.now()}&stream=cors`;
      const asked = (path: string, options: string) =>
        view.evaluate(`fetch("${service.url}${path}", ${options}).then(
          async (answer) => [answer.status, await answer.text()], () => "failed")`);
      const json = `{ method: "POST", headers: { "content-type": "application/json" }, body: "{}" }`;
      await openPage("");
      expect(await asked(`${target}&user=ann&click`, json)).toEqual([204, ""]);
      expect(await asked(target, "{}")).toEqual([200, "unique_users,1\nclicks,1\nimpressions,0\n"]);
      expect(await asked("/ledger", "{}")).toBe("failed");
      await openAsStranger("");
      // The preflight is not answered as it would have to be: nothing is posted.
      expect(await asked(`${target}&user=ann&click`, json)).toBe("failed");
      expect(await asked(target, "{}")).toBe("failed");
      await expectCounts("cors", 1, 0, 1);
    });

    test("a visitor with Do Not Track sees no difference", async () => {
      await view.cdp("Network.enable");
      await view.cdp("Network.setExtraHTTPHeaders", { headers: { "Sec-GPC": "1" } });
      try {
        await openPage(`<img id="pixel" src="SERVICE/pixel.gif?stream=gpc">`);
        expect(await view.evaluate("pixel.naturalWidth")).toBe(1);
      } finally {
        await view.cdp("Network.setExtraHTTPHeaders", { headers: {} });
      }
      const { body } = await ask(service.port, { method: "GET", target: "/ledger" });
      expect(JSON.parse(body).instance.omitted).toEqual({ do_not_track: 1, bot: 0 });
      await expectCounts("gpc", 0, 0, 0);
    });

    test("nothing else was counted, afterwards", async () => {
      expect(expected.size).toBeGreaterThan(5);
      for (const [stream, counts] of expected)
        expect([stream, ...(await countsOf(stream))]).toEqual([stream, ...counts]);
    });
  });
}

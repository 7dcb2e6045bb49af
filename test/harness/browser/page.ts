/** A page in the browser, as its readers and users see it. */
import { waitFor } from "../service/wait-for.ts";
import type { Browser } from "./chromium.ts";

interface Logged {
  readonly entry: { readonly source: string; readonly level: string; readonly text: string };
}

interface Thrown {
  readonly exceptionDetails: {
    readonly exception?: { readonly description?: string };
    readonly text: string;
  };
}

const ATTEMPTS_MAX = 5;

/** Repeats a question whose page was left meanwhile, perhaps by an earlier click. */
async function againIfLeft<T>(ask: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await ask();
    } catch (error) {
      const isLeft = error instanceof Error && error.message.includes("Inspected target navigated");
      if (!isLeft || attempt === ATTEMPTS_MAX) throw error;
    }
  }
}

export class Page {
  readonly #view: Bun.WebView;
  /** Errors thrown by the page's scripts, and violations of its policy. */
  readonly faults: string[] = [];

  private constructor(view: Bun.WebView) {
    this.#view = view;
  }

  static async open({ view }: Browser): Promise<Page> {
    const page = new Page(view);
    await view.navigate("about:blank");
    for (const domain of ["Log", "Runtime", "Page"]) await view.cdp(`${domain}.enable`);
    await view.cdp("Emulation.setScrollbarsHidden", { hidden: true });
    view.addEventListener<Logged>("Log.entryAdded", ({ data: { entry } }) => {
      if (entry.level === "error" && entry.source !== "network") page.faults.push(entry.text);
    });
    view.addEventListener<Thrown>("Runtime.exceptionThrown", ({ data: { exceptionDetails } }) => {
      page.faults.push(exceptionDetails.exception?.description ?? exceptionDetails.text);
    });
    return page;
  }

  async goTo(url: string): Promise<void> {
    const { loaderId } = await this.#view.cdp<{ loaderId: string }>("Page.navigate", { url });
    await this.#waitForLoad(url, (loaded) => loaded === loaderId);
  }

  async reload(): Promise<void> {
    const before = await this.#loaderId();
    await this.#view.cdp("Page.reload");
    await this.#waitForLoad("the page again", (loaded) => loaded !== before);
  }

  /**
   * The view's own methods may take the end of an earlier page's load for that of this one, whose scripts did not run
   * yet: then nobody hears the first click.
   */
  async #waitForLoad(what: string, isRight: (loaderId: string) => boolean): Promise<void> {
    await waitFor(`${what} to be loaded`, async () => {
      const state = await this.ask<string>("document.readyState");
      if (state !== "complete" || !isRight(await this.#loaderId())) throw new Error(state);
      return true;
    });
  }

  /** Differs from document to document. */
  async #loaderId(): Promise<string> {
    const { frameTree } = await this.#view.cdp<{ frameTree: { frame: { loaderId: string } } }>("Page.getFrameTree");
    return frameTree.frame.loaderId;
  }

  async ask<T>(expression: string): Promise<T> {
    return await againIfLeft(() => this.#view.evaluate<T>(expression));
  }

  /** The visible text. */
  async text(selector: string): Promise<string> {
    return await this.ask<string>(`document.querySelector(${JSON.stringify(selector)})?.innerText ?? ""`);
  }

  async sees(selector: string): Promise<boolean> {
    return await this.ask<boolean>(`document.querySelector(${JSON.stringify(selector)})?.checkVisibility() === true`);
  }

  async waitForText(selector: string, isRight: string | ((text: string) => boolean)): Promise<string> {
    const check = typeof isRight === "string" ? (text: string) => text === isRight : isRight;
    let seen = "";
    await waitFor(`${selector} to be ${isRight}`, async () => {
      seen = await this.text(selector);
      if (!check(seen)) throw new Error(JSON.stringify(seen));
      return true;
    });
    return seen;
  }

  async waitToSee(selector: string): Promise<void> {
    await waitFor(`${selector} to be seen`, () => this.sees(selector));
  }

  async click(selector: string): Promise<void> {
    await this.#untilHit("click", selector, async () => {
      await this.#view.scrollTo(selector);
      await this.#view.click(selector);
    });
  }

  /**
   * Acts until the event arrives at the element. Between the question where it is and the press of the button, a line
   * above it may come or go; a page that is not drawn yet drops what is pressed. What arrives elsewhere has no effect.
   */
  async #untilHit(type: "click" | "mousedown", selector: string, act: () => Promise<void>): Promise<void> {
    await waitFor(`a ${type} to arrive at ${selector}`, async () => {
      await this.ask(`(() => {
        window.arrivedAt = "nothing";
        window.stopWatching?.abort();
        window.stopWatching = new AbortController();
        const watch = (event) => {
          const isHit = event.target.closest(${JSON.stringify(selector)}) !== null;
          if (event.type === "${type}") window.arrivedAt = isHit ? "" : event.target.outerHTML.slice(0, 200);
          if (!isHit) event.stopImmediatePropagation();
          if (!isHit) event.preventDefault();
        };
        const options = { capture: true, signal: window.stopWatching.signal };
        for (const type of ["mousedown", "click"]) addEventListener(type, watch, options);
      })()`);
      await act();
      // Undefined if it led to another page.
      const arrivedAt = await this.ask<string | undefined>("(window.stopWatching?.abort(), window.arrivedAt)");
      if (arrivedAt) throw new Error(`arrived at ${arrivedAt}`);
      return true;
    });
  }

  async press(key: string): Promise<void> {
    await this.#view.press(key);
  }

  async type(text: string): Promise<void> {
    await this.#view.type(text);
  }

  async choose(selector: string, value: string): Promise<void> {
    await this.ask(`(() => {
      const select = document.querySelector(${JSON.stringify(selector)});
      select.value = ${JSON.stringify(value)};
      select.dispatchEvent(new Event("change", { bubbles: true }));
    })()`);
  }

  async back(): Promise<void> {
    await this.ask("history.back()");
  }

  /** `from` and `to` are shares of the element's width, at half of its height. */
  async drag(selector: string, from: number, to: number): Promise<void> {
    await this.#untilHit("mousedown", selector, async () => {
      const mouse = await this.#mouseOver(selector);
      await mouse("mouseMoved", from, 0);
      await mouse("mousePressed", from, 1);
      for (const part of [0.25, 0.5, 0.75, 1]) await mouse("mouseMoved", from + (to - from) * part, 1);
      await mouse("mouseReleased", to, 0);
    });
  }

  /** `share`: of its width, at half of its height. */
  async hover(selector: string, share: number): Promise<void> {
    const mouse = await this.#mouseOver(selector);
    await mouse("mouseMoved", share, 0);
  }

  async #mouseOver(selector: string) {
    const place = `document.querySelector(${JSON.stringify(selector)})`;
    await this.ask(`${place}.scrollIntoView({ block: "center" })`);
    const box = await this.ask<{ x: number; y: number; width: number; height: number }>(
      `${place}.getBoundingClientRect().toJSON()`,
    );
    return (type: string, share: number, buttons: number) =>
      this.#view.cdp("Input.dispatchMouseEvent", {
        ...{ type, x: box.x + box.width * share, y: box.y + box.height / 2 },
        ...{ button: type === "mouseMoved" && buttons === 0 ? "none" : "left", buttons, clickCount: 1 },
      });
  }

  async setColours(scheme: "dark" | "light"): Promise<void> {
    const features = [{ name: "prefers-color-scheme", value: scheme }];
    await this.#view.cdp("Emulation.setEmulatedMedia", { features });
  }

  async setSize(width: number, height: number): Promise<void> {
    const metrics = { width, height, deviceScaleFactor: 1, mobile: false };
    await this.#view.cdp("Emulation.setDeviceMetricsOverride", metrics);
  }

  /** PNG of the whole page. */
  async picture(): Promise<Buffer> {
    const options = { format: "png", captureBeyondViewport: true };
    const { data } = await this.#view.cdp<{ data: string }>("Page.captureScreenshot", options);
    return Buffer.from(data, "base64");
  }
}

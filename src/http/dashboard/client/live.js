/* The connection that delivers the current hour once a second while the page is visible. */
import { pause } from "./api.js";

const FIRST_PAUSE_MS = 1_000;
const MAX_PAUSE_MS = 15_000;
/** The service sends at least a comment every 5 s. */
const SILENCE_MAX_MS = 15_000;
/** After this long without a message, the shown numbers count as stale. */
const FRESH_MS = 5_000;

export class Live {
  #api;
  #handlers;
  #stream;
  #watching;

  /** `onMessage(message)`; `onState(state, error)`: "connecting", "stale" (no message for a while) or "lost". */
  constructor(api, handlers) {
    this.#api = api;
    this.#handlers = handlers;
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.#stop();
      else if (this.#watching === undefined) this.#start();
    });
  }

  watch(stream) {
    if (stream === this.#stream && this.#watching !== undefined) return;
    this.#stream = stream;
    this.#stop();
    this.#start();
  }

  #start() {
    if (this.#stream === undefined) return;
    this.#watching = new AbortController();
    this.#handlers.onState("connecting");
    this.#run(this.#stream, this.#watching.signal).catch(() => {});
  }

  #stop() {
    this.#watching?.abort();
    this.#watching = undefined;
  }

  async #run(stream, signal) {
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, MAX_PAUSE_MS)) {
      let problem;
      try {
        const hasBegun = await this.#readOnce(stream, signal);
        if (hasBegun) pauseMs = FIRST_PAUSE_MS;
      } catch (error) {
        problem = error;
      }
      signal.throwIfAborted();
      this.#handlers.onState("lost", problem);
      await pause(pauseMs * (0.5 + Math.random() / 2), signal);
    }
  }

  /** Reads until the connection ends; returns whether anything arrived. */
  async #readOnce(stream, signal) {
    const connection = new AbortController();
    const giveUp = () => connection.abort();
    signal.addEventListener("abort", giveUp);
    let timer = setTimeout(giveUp, SILENCE_MAX_MS);
    let freshTimer;
    let hasBegun = false;
    try {
      const options = { signal: connection.signal, accept: "text/event-stream" };
      const answer = await this.#api.get("live", { stream }, options);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return hasBegun;
        clearTimeout(timer);
        timer = setTimeout(giveUp, SILENCE_MAX_MS);
        const events = (rest + value).split("\n\n");
        rest = events.pop();
        for (const event of events) {
          if (!event.startsWith("data: ")) continue;
          hasBegun = true;
          clearTimeout(freshTimer);
          freshTimer = setTimeout(() => this.#handlers.onState("stale"), FRESH_MS);
          this.#handlers.onMessage(JSON.parse(event.slice(6)));
        }
      }
    } catch (error) {
      if (hasBegun && !signal.aborted) return true;
      throw error;
    } finally {
      clearTimeout(timer);
      clearTimeout(freshTimer);
      signal.removeEventListener("abort", giveUp);
    }
  }
}

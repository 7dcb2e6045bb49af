/* The top streams of the period. */
import { byId, element, setText } from "./dom.js";
import { count, ratio, shortCount } from "./format.js";
import { METRICS } from "./metrics.js";

export class TopStreams {
  #onPick;

  constructor({ onPick, onOrder }) {
    this.#onPick = onPick;
    byId("top-order").addEventListener("change", ({ target }) => onOrder(target.value));
  }

  load() {
    byId("top").dataset.state = "loading";
    setText(byId("top-note"), "Loading…");
  }

  failed(message) {
    if (byId("top").dataset.state === "ready") return;
    byId("top").dataset.state = "error";
    setText(byId("top-note"), message);
  }

  show({ streams, total }, { stream: chosen, order }) {
    byId("top").dataset.state = streams.length === 0 ? "empty" : "ready";
    byId("top-order").value = order;
    const of = (sums) => METRICS[order].of(sums) ?? 0;
    const most = Math.max(...streams.map(of), Number.MIN_VALUE);
    byId("top-body").replaceChildren(...streams.map((each) => this.#line(each, of(each) / most, chosen)));
    const rest = total.streams - streams.length;
    const more = rest > 0 ? `${count(rest)} more: find them by name above.` : "";
    setText(byId("top-note"), streams.length === 0 ? "No stream has events in this period." : more);
  }

  #line(each, share, chosen) {
    const { stream, clicks, impressions, ctr, unique_users } = each;
    const name = element("button", { type: "button", className: "stream", title: stream }, stream);
    if (stream === chosen) name.setAttribute("aria-current", "true");
    name.addEventListener("click", () => this.#onPick(stream));
    const bar = element("span", { className: "bar" });
    bar.style.inlineSize = `${(share * 100).toFixed(1)}%`;
    const cell = (value, title) => element("td", { title }, value);
    return element(
      "tr",
      {},
      element("th", { scope: "row" }, name, bar),
      cell(shortCount(clicks), count(clicks)),
      cell(shortCount(impressions), count(impressions)),
      cell(ratio(ctr)),
      cell(shortCount(unique_users), usersText(each)),
    );
  }
}

/** A user with both kinds of events counts in both numbers. */
function usersText({ unique_users, unique_clickers, unique_viewers }) {
  return `${count(unique_users)}: ${count(unique_clickers)} clicked, ${count(unique_viewers)} saw`;
}

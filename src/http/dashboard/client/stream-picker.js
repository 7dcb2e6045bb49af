/* Chooses a stream or a branch of streams: a button, and a list that is filtered by typing. */
import { byId, element, setText } from "./dom.js";
import { NOTHING } from "./format.js";
import { METRICS } from "./metrics.js";
import { ALL_STREAMS } from "./view-state.js";

const LISTED_MAX = 50;
const LOADED_MAX = 1_000;
const TYPING_PAUSE_MS = 150;
const BRANCHES_MAX = 5;

export const streamTitle = (stream) => (stream === ALL_STREAMS ? "All streams" : stream);

export class StreamPicker {
  #load;
  #rank;
  #onPick;
  #chosen = ALL_STREAMS;
  /** Shown until the answer arrives. */
  #known = [];
  #options = [];
  #active = 0;
  #timer;
  #loads = 0;

  /** `load(selection, limit)` resolves to an answer of GET /streams. `rank()`: the metric that it is sorted by. */
  constructor({ load, rank, onPick }) {
    this.#load = load;
    this.#rank = rank;
    this.#onPick = onPick;
    const [button, input, list] = [byId("picker-button"), byId("picker-input"), byId("picker-list")];
    button.addEventListener("click", () => (this.#isOpen ? this.#close() : this.open()));
    input.addEventListener("input", () => this.#typed());
    input.addEventListener("keydown", (event) => this.#key(event));
    // Prevents the input from losing the focus, which would close the list before the click.
    list.addEventListener("mousedown", (event) => event.preventDefault());
    list.addEventListener("click", ({ target }) => {
      const option = target.closest("[role=option]");
      if (option !== null) this.#pick(option.dataset.stream);
    });
    byId("picker").addEventListener("focusout", ({ relatedTarget }) => {
      if (this.#isOpen && !byId("picker").contains(relatedTarget)) this.#close(false);
    });
  }

  get #isOpen() {
    return !byId("picker-panel").hidden;
  }

  show(stream) {
    this.#chosen = stream;
    setText(byId("picker-name"), streamTitle(stream));
  }

  know(streams) {
    this.#known = streams;
  }

  open() {
    byId("picker-panel").hidden = false;
    byId("picker-button").setAttribute("aria-expanded", "true");
    byId("picker-input").value = "";
    byId("picker-input").focus();
    void this.#search();
  }

  #close(isFocusKept = true) {
    clearTimeout(this.#timer);
    byId("picker-panel").hidden = true;
    byId("picker-button").setAttribute("aria-expanded", "false");
    if (isFocusKept) byId("picker-button").focus();
  }

  #pick(stream) {
    this.#close();
    if (stream !== this.#chosen) this.#onPick(stream);
  }

  #typed() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#search(), TYPING_PAUSE_MS);
  }

  async #search() {
    const load = ++this.#loads;
    const text = byId("picker-input").value.trim();
    this.#list(matching(this.#known, text), text);
    setText(byId("picker-note"), "Looking…");
    try {
      const { streams, total } = await this.#load(ALL_STREAMS, LOADED_MAX);
      // Names beyond the loaded ones are found by their prefix.
      const isAll = total.streams <= LOADED_MAX || text === "";
      const more = isAll ? [] : (await this.#load(`${prefixOf(text)}*`, LISTED_MAX)).streams;
      if (load !== this.#loads || !this.#isOpen) return;
      const names = new Map([...more, ...streams].map((each) => [each.stream, each]));
      const found = matching([...names.values()], text);
      this.#list(found, text);
      const sortedBy = `Numbers: ${METRICS[this.#rank()].noun} in this period.`;
      const note = found.length === 0 ? "No stream with events in this period has such a name." : sortedBy;
      const rest = found.length > LISTED_MAX ? ` ${found.length - LISTED_MAX} more: type a part of the name.` : "";
      setText(byId("picker-note"), note + rest);
    } catch (error) {
      if (load === this.#loads) setText(byId("picker-note"), error.message);
    }
  }

  #list(found, text = "") {
    const branches = text === "" ? [ALL_STREAMS] : branchesOf(text, found);
    const first = branches.map((stream) => ({ stream }));
    const { of, text: textOf } = METRICS[this.#rank()];
    this.#options = [...first, ...found.slice(0, LISTED_MAX)];
    const chosen = this.#options.findIndex(({ stream }) => stream === this.#chosen);
    this.#active = text === "" ? Math.max(0, chosen) : 0;
    byId("picker-list").replaceChildren(
      ...this.#options.map((sums, i) => {
        const { stream } = sums;
        const value = sums.clicks === undefined ? NOTHING : textOf(of(sums));
        return element(
          "li",
          { role: "option", id: `picker-option-${i}`, "data-stream": stream },
          element("span", { className: "option-name" }, stream.endsWith("*") ? branchTitle(stream) : stream),
          element("span", { className: "option-count" }, value === NOTHING ? "" : value),
        );
      }),
    );
    this.#mark();
  }

  #mark() {
    const input = byId("picker-input");
    for (const [i, option] of [...byId("picker-list").children].entries()) {
      option.setAttribute("aria-selected", String(i === this.#active));
      option.classList.toggle("is-chosen", option.dataset.stream === this.#chosen);
    }
    const active = byId(`picker-option-${this.#active}`);
    if (active === null) return input.removeAttribute("aria-activedescendant");
    input.setAttribute("aria-activedescendant", active.id);
    active.scrollIntoView({ block: "nearest" });
  }

  #key(event) {
    const last = this.#options.length - 1;
    const moves = {
      ArrowDown: Math.min(last, this.#active + 1),
      ArrowUp: Math.max(0, this.#active - 1),
      PageDown: last,
      PageUp: 0,
    };
    if (event.key in moves) {
      this.#active = moves[event.key];
      this.#mark();
    } else if (event.key === "Enter") {
      const option = this.#options[this.#active];
      if (option !== undefined) this.#pick(option.stream);
    } else if (event.key === "Escape") this.#close();
    else return;
    event.preventDefault();
  }
}

function matching(streams, text) {
  const needle = text.replace(/\*$/, "").toLowerCase();
  return streams.filter(({ stream }) => stream.toLowerCase().includes(needle));
}

const { streamCharacters, streamMaxChars } = document.body.dataset;
const NOT_IN_NAMES = new RegExp(`[^${streamCharacters}]`, "g");
const prefixOf = (text) => text.replace(NOT_IN_NAMES, "").slice(0, Number(streamMaxChars));

/** Branches (ending with a dot) that begin with the text and contain several of these streams. */
function branchesOf(text, found) {
  const prefix = prefixOf(text);
  const counts = new Map();
  for (const { stream } of found) {
    for (let dot = stream.indexOf("."); dot !== -1; dot = stream.indexOf(".", dot + 1)) {
      const branch = stream.slice(0, dot + 1);
      if (branch.startsWith(prefix)) counts.set(branch, (counts.get(branch) ?? 0) + 1);
    }
  }
  const shared = [...counts.keys()].filter((branch) => counts.get(branch) > 1);
  return shared.slice(0, BRANCHES_MAX).map((branch) => `${branch}*`);
}

function branchTitle(stream) {
  return stream === ALL_STREAMS ? "All streams" : `${stream} (all of this branch)`;
}

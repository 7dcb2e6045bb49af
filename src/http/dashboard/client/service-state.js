/* How the service does: its books, its stores and writers, and what a reader has to know at once. */
import { byId, element, setText } from "./dom.js";
import { count, duration } from "./format.js";

const WRITERS_SHOWN = 8;
const REFUSAL_LABELS = JSON.parse(document.body.dataset.refusalLabels);
/** While this instance takes no events, and why. */
const REFUSALS = {
  cold_store_away: "Events are refused until the cold store has told which hours there are.",
  journal_full: "Events are refused: too many wait for the cold store.",
  overloaded: "Events are refused: more come than can be stored.",
  shutting_down: "This instance is shutting down.",
};

export function showService(message) {
  const { ledger } = message;
  // It is not told to a key that is for some streams.
  byId("ledger").hidden = ledger === undefined;
  if (ledger !== undefined) showLedger(ledger.instance);
  showStores(message);
  showNotices(message);
}

function showLedger({ accepted, persisted, pending, handedOver, lost, duplicates, refused, omitted, ...rest }) {
  const refusedCount = sumOf(refused);
  const shares = { persisted, pending, "handed-over": handedOver, lost, refused: refusedCount };
  const all = accepted + refusedCount;
  for (const [name, value] of Object.entries(shares)) {
    byId(`ledger-bar-${name}`).style.flexGrow = String(all === 0 ? 0 : value / all);
    byId(`ledger-bar-${name}`).hidden = value === 0;
  }
  byId("ledger-bar").setAttribute(
    "aria-label",
    `Of ${count(all)} events ${count(persisted)} are persisted, ${count(pending)} pending, ${count(refusedCount)} refused`,
  );
  const numbers = { accepted, persisted, pending, refused: refusedCount, duplicates };
  for (const [name, value] of Object.entries(numbers)) setText(byId(`ledger-${name}`), count(value));
  setText(byId("ledger-oldest"), pending === 0 ? "none waits" : duration(rest.oldestPendingMs));
  setText(byId("ledger-holds"), rest.holds ? "The books balance" : "The books do not balance");
  byId("ledger-holds").dataset.status = rest.holds ? "ok" : "away";
  const reasons = Object.entries(refused).filter(([, value]) => value > 0);
  const more = [
    ...reasons.map(([name, value]) => `${count(value)} refused: ${REFUSAL_LABELS[name]}`),
    ...(handedOver > 0 ? [`${count(handedOver)} handed over to another instance`] : []),
    ...(lost > 0 ? [`${count(lost)} lost with the hot store's journal`] : []),
    ...(sumOf(omitted) > 0 ? [`${count(sumOf(omitted))} left out, as browsers asked`] : []),
  ];
  setText(byId("ledger-more"), more.join(" · "));
}

function sumOf(counts) {
  return Object.values(counts).reduce((sum, value) => sum + value, 0);
}

function showStores({ hot_store, cold_store, ledger }) {
  showStore("hot", hot_store, hot_store.status === "ok" ? "answers" : "away");
  const waiting = ledger === undefined ? "" : `, ${count(ledger.instance.pending)} wait`;
  showStore("cold", cold_store, cold_store.status === "ok" ? "answers" : `away${waiting}`);
  showWriters(ledger ?? { stores: null });
}

function showWriters({ instance, stores }) {
  const writers = stores?.writers;
  if (writers === undefined) {
    if (stores !== null || instance === undefined) byId("writers").replaceChildren();
    setText(byId("writers-note"), stores === null ? "" : "Writers can't be told while a store is away.");
    return;
  }
  // This instance's first, then those with the most to do.
  const isOwn = ({ writer }) => writer === instance.writer;
  const sorted = writers.toSorted((a, b) => isOwn(b) - isOwn(a) || b.pending - a.pending);
  byId("writers").replaceChildren(...sorted.slice(0, WRITERS_SHOWN).map((each) => writerLine(each, isOwn(each))));
  const rest = sorted.length - WRITERS_SHOWN;
  const letters = stores.deadLetters > 0 ? `${count(stores.deadLetters)} events set aside as dead letters` : "";
  const more = rest > 0 ? `and ${count(rest)} more writers` : "";
  setText(byId("writers-note"), [more, letters].filter(Boolean).join(" · "));
}

function showStore(which, { name, status, error }, text) {
  const place = byId(`store-${which}`);
  place.dataset.status = status;
  setText(byId(`store-${which}-name`), name);
  setText(byId(`store-${which}-status`), text);
  place.title = error ?? "";
}

function writerLine({ writer, isAlive, pending }, isOwn) {
  const status = isAlive ? "ok" : "away";
  const state = isAlive ? (pending > 0 ? `${count(pending)} pending` : "idle") : `ended, ${count(pending)} left`;
  return element(
    "li",
    { className: "health", "data-status": status },
    element("span", { className: "dot", "aria-hidden": "true" }),
    element(
      "span",
      { className: "health-name", title: writer },
      isOwn ? "This instance" : `Writer ${writer.slice(0, 8)}`,
    ),
    element("span", { className: "health-status" }, state),
  );
}

function showNotices({ hot_store: hot, cold_store: cold, refusal, ledger }) {
  const [isHotAway, isColdAway] = [hot.status !== "ok", cold.status !== "ok"];
  const wait = ledger === undefined ? "Events wait in the journal." : waitText(ledger.instance.pending);
  const notices = [];
  if (isHotAway) {
    const numbers = isColdAway
      ? "No numbers can be read"
      : `Numbers come from ${cold.name} and may lack the last seconds`;
    notices.push([`${hot.name} is away`, `Events are refused (503), to be sent again. ${numbers}.`]);
  }
  if (isColdAway) {
    const rest = isHotAway ? wait : `Events are taken: ${wait} Hours that ${hot.name} does not hold can't be read.`;
    notices.push([`${cold.name} is away`, rest]);
  }
  if (refusal in REFUSALS) notices.push(["Not ready", REFUSALS[refusal]]);
  setNotices(notices);
}

function waitText(pending) {
  return `${count(pending)} ${pending === 1 ? "event waits" : "events wait"} in the journal.`;
}

/** Each a title and a text. */
export function setNotices(notices) {
  const place = byId("notices");
  const wanted = notices.map(([title]) => title).join();
  if (place.dataset.shown !== wanted) {
    place.dataset.shown = wanted;
    place.replaceChildren(
      ...notices.map(([title, text]) =>
        element("p", { className: "notice" }, element("b", {}, title), element("span", {}, text)),
      ),
    );
  } else {
    for (const [i, [, text]] of notices.entries()) setText(place.children[i].lastChild, text);
  }
}

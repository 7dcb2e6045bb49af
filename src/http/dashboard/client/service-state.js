/* The state of the service: ledger, stores, writers, and notices of failures. */
import { byId, element, setText } from "./dom.js";
import { count, duration } from "./format.js";

const WRITERS_SHOWN = 8;
const LAGS_SHOWN = 4;
/** The page has the service's names and sentences. */
const { refusals: REFUSALS, brokers: BROKERS } = JSON.parse(document.body.dataset.texts);

export function showService(message) {
  const { ledger } = message;
  // Absent for a key that is limited to some streams.
  byId("ledger").hidden = ledger === undefined;
  if (ledger !== undefined) showLedger(ledger.instance);
  showStores(message);
  byId("sources").replaceChildren(...(message.sources ?? []).map(sourceLine));
  showNotices(message);
}

function showLedger({ accepted, persisted, pending, handed_over, lost, duplicates, refused, omitted, ...rest }) {
  const refusedCount = sumOf(refused);
  // Only accepted events: a bar of refused ones would contradict books that balance.
  const shares = { persisted, pending, "handed-over": handed_over, lost };
  for (const [name, value] of Object.entries(shares)) {
    byId(`ledger-bar-${name}`).style.flexGrow = String(accepted === 0 ? 0 : value / accepted);
    byId(`ledger-bar-${name}`).hidden = value === 0;
  }
  byId("ledger-bar").setAttribute(
    "aria-label",
    `Of ${count(accepted)} accepted events ${count(persisted)} are persisted, ${count(pending)} pending, ${count(lost)} lost`,
  );
  const numbers = { accepted, persisted, pending, refused: refusedCount, duplicates };
  for (const [name, value] of Object.entries(numbers)) setText(byId(`ledger-${name}`), count(value));
  setText(byId("ledger-oldest"), pending === 0 ? "none" : duration(rest.oldest_pending_ms));
  setText(byId("ledger-holds"), rest.holds ? "The books balance" : "The books do not balance");
  byId("ledger-holds").dataset.status = rest.holds ? "ok" : "away";
  const reasons = Object.entries(refused).filter(([, value]) => value > 0);
  const more = [
    ...reasons.map(([name, value]) => `${count(value)} refused: ${REFUSALS[name]}`),
    ...(handed_over > 0 ? [`${count(handed_over)} handed over to another instance`] : []),
    ...(lost > 0 ? [`${count(lost)} lost: in no store`] : []),
    ...(omitted.do_not_track > 0 ? [`${count(omitted.do_not_track)} not counted: browsers sent Do Not Track`] : []),
    ...(omitted.bot > 0 ? [`${count(omitted.bot)} not counted: bots`] : []),
  ];
  setText(byId("ledger-more"), more.join(" · "));
}

function sumOf(counts) {
  return Object.values(counts).reduce((sum, value) => sum + value, 0);
}

function showStores({ hot_store, cold_store, ledger }) {
  showStore("hot", hot_store, hot_store.status === "ok" ? "answers" : "unavailable");
  const waiting = ledger === undefined ? "" : `, ${count(ledger.instance.pending)} wait`;
  showStore("cold", cold_store, cold_store.status === "ok" ? "answers" : `unavailable${waiting}`);
  showWriters(ledger ?? { stores: null });
}

function showWriters({ instance, stores }) {
  const writers = stores?.writers;
  if (writers === undefined) {
    if (stores !== null || instance === undefined) byId("writers").replaceChildren();
    setText(byId("writers-note"), stores === null ? "" : "Writer status is unavailable while a store is down.");
    return;
  }
  // This instance's writer first, then those with the most pending events.
  const isOwn = ({ writer }) => writer === instance.writer;
  const sorted = writers.toSorted((a, b) => isOwn(b) - isOwn(a) || b.pending - a.pending);
  byId("writers").replaceChildren(...sorted.slice(0, WRITERS_SHOWN).map((each) => writerLine(each, isOwn(each))));
  const rest = sorted.length - WRITERS_SHOWN;
  const letters = stores.dead_letters > 0 ? `${count(stores.dead_letters)} events set aside as dead letters` : "";
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

function writerLine({ writer, is_alive, pending }, isOwn) {
  const state = is_alive ? (pending > 0 ? `${count(pending)} pending` : "idle") : `ended, ${count(pending)} left`;
  const name = isOwn ? "This instance" : `Writer ${writer.slice(0, 8)}`;
  return healthLine(is_alive, { title: writer }, [name], state);
}

function sourceLine({ name, status, reason, lags }) {
  const waiting = lags === undefined ? status : `${count(sumOf(lags.map(({ lag }) => lag)))} waiting`;
  const why = REFUSALS[reason];
  const state = status === "consuming" ? waiting : why === undefined ? "not connected" : `${waiting}: ${why}`;
  const small = element("small", {}, `${name === "kafka" ? "topic" : "queue"}${partitionsText(lags ?? [])}`);
  return healthLine(status === "consuming", { title: reason ?? "" }, [`${BROKERS[name]} `, small], state);
}

/** The Kafka partitions with the most waiting messages. */
function partitionsText(lags) {
  const behind = lags.filter(({ partition, lag }) => partition !== undefined && lag > 0);
  if (behind.length === 0) return "";
  const shown = behind.toSorted((a, b) => b.lag - a.lag).slice(0, LAGS_SHOWN);
  const more = behind.length > shown.length ? " · …" : "";
  return `; partition ${shown.map(({ partition, lag }) => `${partition}: ${count(lag)}`).join(" · ")}${more}`;
}

function healthLine(isWell, attributes, name, state) {
  return element(
    "li",
    { className: "health", "data-status": isWell ? "ok" : "away" },
    element("span", { className: "dot", "aria-hidden": "true" }),
    element("span", { className: "health-name", ...attributes }, ...name),
    element("span", { className: "health-status" }, state),
  );
}

function showNotices({ hot_store: hot, cold_store: cold, refusal, ledger }) {
  const [isHotDown, isColdDown] = [hot.status !== "ok", cold.status !== "ok"];
  const wait = ledger === undefined ? "Events wait in the journal." : waitText(ledger.instance.pending);
  const notices = [];
  if (isHotDown) {
    const numbers = isColdDown
      ? "No numbers can be read"
      : `Numbers come from ${cold.name} and may lack the last seconds`;
    notices.push([`${hot.name} is unavailable`, `Events are refused (503); clients must retry. ${numbers}.`]);
  }
  if (isColdDown) {
    const rest = isHotDown
      ? wait
      : `Events are still accepted: ${wait} Hours that ${hot.name} does not hold cannot be read.`;
    notices.push([`${cold.name} is unavailable`, rest]);
  }
  if (refusal !== undefined && refusal !== "hot_store_away")
    notices.push(["Not ready", `Events are refused: ${REFUSALS[refusal]}.`]);
  setNotices(notices);
}

function waitText(pending) {
  return `${count(pending)} ${pending === 1 ? "event waits" : "events wait"} in the journal.`;
}

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

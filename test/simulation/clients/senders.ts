/**
 * Clients: each sends according to the plan, records the answers, and retries what was refused or is unknown.
 *
 * Invariant: an event with an id is resent unchanged. Without an id each attempt is another event, since nobody could
 * tell them apart.
 */
import { type Event, HOUR_MS } from "../../../src/domain/event.ts";
import { ID_TTL_MS } from "../../../src/domain/event-ids.ts";
import type { SentEvent, Told } from "../check/events.ts";
import type { EventSpec, RetrySpec, Send } from "../world/plan.ts";
import type { Process } from "../world/process.ts";
import { toldOfEach, toldOfOne } from "./answers.ts";
import type { Site } from "./site.ts";

/** Above what any answer may take. */
const CLIENT_TIMEOUT_MS = 40_000;
/** An id that is nearly forgotten is sent no more: it may count again. */
const ID_MARGIN_MS = HOUR_MS / 2;
/** The share of answers that are lost on their way to the client. */
const LOST_ANSWERS = 0.03;
const REQUEST_MIN_MS = 0.1;
const REQUEST_MAX_MS = 2;

/** One event that is sent until it is stored, or its sender gives up. */
interface Errand {
  readonly spec: EventSpec;
  readonly name: string;
  readonly firstSentMs: number;
  sent: SentEvent | undefined;
  sendings: number;
}

export function send(site: Site, action: Send): void {
  const firstSentMs = site.wallMs;
  const errands = action.events.map((spec, i): Errand => {
    return { spec, name: `u${action.number}.${i}`, firstSentMs, sent: undefined, sendings: 0 };
  });
  attempt(site, errands, action, action.process, action.retries);
}

function attempt(
  site: Site,
  errands: readonly Errand[],
  action: Send,
  slot: number,
  retries: readonly RetrySpec[],
): void {
  if (site.isClosing) return;
  const due = errands.filter((errand) => !isForgotten(site, errand));
  if (due.length === 0) return;
  const events = due.map((errand) => nextEvent(site, errand));
  const [retry, ...others] = retries;
  let isOver = false;
  const settle = (told: readonly Told[]) => {
    if (isOver) return;
    isOver = true;
    const again = due.filter((errand, i) => {
      return note(site, events[i]!, told[i]!) || (action.isRepeated && errand.spec.hasId);
    });
    if (retry === undefined || again.length === 0) return;
    site.scheduler.after(retry.afterMs, undefined, () => attempt(site, again, action, retry.process, others));
  };
  const all = (told: Told) => events.map(() => told);
  site.scheduler.after(CLIENT_TIMEOUT_MS, undefined, () => settle(all("unknown")));
  const process = site.processAt(slot);
  if (process === undefined) {
    settle(all("refused"));
    return;
  }
  const requestMs = site.random.between(REQUEST_MIN_MS, REQUEST_MAX_MS);
  // A process that has ended by the time it arrives refuses the connection; one that ends later breaks it.
  const arrival = site.scheduler.after(requestMs, process, () => arrive(site, process, events, action.isBulk, settle));
  site.onEnd(process, () => {
    const isUnsent = arrival.run !== undefined;
    site.scheduler.after(1, undefined, () => settle(all(isUnsent ? "refused" : "unknown")));
  });
}

function isForgotten(site: Site, { spec, firstSentMs }: Errand): boolean {
  return spec.hasId && Math.abs(site.wallMs - firstSentMs) > ID_TTL_MS - ID_MARGIN_MS;
}

function nextEvent(site: Site, errand: Errand): SentEvent {
  const { spec, name } = errand;
  errand.sendings += 1;
  if (errand.sent === undefined || !spec.hasId) {
    const user = spec.hasId ? name : `${name}-${errand.sendings}`;
    errand.sent = site.events.add(eventOf(site, spec, user, spec.hasId ? name : undefined));
  }
  errand.sent.open += 1;
  return errand.sent;
}

function eventOf(site: Site, { stream, hoursAgo, kind }: EventSpec, user: string, id: string | undefined): Event {
  return { stream, kind, at: Math.floor(site.wallMs) - hoursAgo * HOUR_MS, user, id };
}

/** Whether it is to be sent again. */
function note(site: Site, sent: SentEvent, told: Told): boolean {
  sent.open -= 1;
  if (told === "stored") {
    sent.storedMs = Math.min(sent.storedMs, site.scheduler.nowMs);
    return false;
  }
  if (told === "refused") sent.refused += 1;
  else sent.unknown += 1;
  return true;
}

/** The request arrives at the process. */
function arrive(
  site: Site,
  process: Process,
  sent: readonly SentEvent[],
  isBulk: boolean,
  settle: (told: readonly Told[]) => void,
): void {
  const { pipeline } = process;
  const events = sent.map(({ event }) => event);
  for (const { processes } of sent) processes.add(process);
  site.submitted(process, sent.length);
  const answer = (told: readonly Told[]) => {
    site.answered(process, sent, told);
    const heard = site.random.chance(LOST_ANSWERS) ? sent.map((): Told => "unknown") : told;
    site.scheduler.after(site.random.between(REQUEST_MIN_MS, REQUEST_MAX_MS), undefined, () => settle(heard));
  };
  if (isBulk) void pipeline.submitAll(events).then((outcome) => answer(toldOfEach(outcome, events.length)));
  else void pipeline.submit(events[0]!).then((outcome) => answer([toldOfOne(outcome)]));
}

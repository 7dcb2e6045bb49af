/**
 * Clients that keep posting at a steady rate through all faults, and record the answers.
 *
 * An event that is not acknowledged (no answer, no connection, 503) is sent again under the same id, to any of the
 * instances, after a jittered pause. So at the end every event is acknowledged, and must be stored once. A client does
 * not wait longer for an answer that is late: its next attempt may overtake the first.
 */
import { HOUR_MS, hourKeyName, hourOf } from "../../../src/domain/event.ts";
import { withDeadline } from "../../../src/runtime/clock.ts";
import { Latencies } from "../../../src/runtime/latencies.ts";
import { Random } from "../../harness/pipeline/random.ts";
import { eventTarget } from "../../harness/service/analytics-client.ts";
import { type Answer, type HttpConnection, openConnection } from "../../harness/service/http-connection.ts";
import { errorCode, type SentEvent } from "../../harness/service/load.ts";
import { addTo } from "../verdict/report.ts";

export interface ClientsOptions {
  readonly ports: readonly number[];
  readonly seed: number;
  readonly lanes: number;
  /** The rate of all lanes together, as long as the service keeps up. */
  readonly ratePerS: number;
  readonly streams: readonly string[];
  /** The start of the hour that the next event falls in. */
  readonly pickHour: (random: Random) => number;
  /** How long an answer is waited for: for each sending something between half of this and this. */
  readonly patienceMs: number;
}

/** An hour as seen by clients: how many events were sent and acknowledged. */
export interface HourTally {
  sent: number;
  acknowledged: number;
}

export interface ChaosEvent extends SentEvent {
  readonly id: string;
  /** Each sending, as "<ms since the start> ms :<port> <what came of it>". */
  readonly history: string[];
}

interface Way {
  readonly port: number;
  readonly connection: HttpConnection;
}

const USERS = 2_000;
const EVENTS_MAX = HOUR_MS;
const PAUSE_FIRST_MS = 10;
const PAUSE_MAX_MS = 600;
const CONNECT_TIMEOUT_MS = 2_000;
const POLL_MS = 20;

export class Clients {
  readonly events: ChaosEvent[] = [];
  readonly hours = new Map<string, HourTally>();
  /** Counts by outcome of each attempt. */
  readonly outcomes = new Map<string, number>();
  /** Acknowledgements by the instance's port. */
  readonly acknowledgedBy = new Map<number, number>();
  /** Latencies of acknowledgements. */
  readonly latencies = new Latencies();
  /** Latencies of 503s. */
  readonly refusalLatencies = new Latencies();
  /** Answers that no client should get. */
  readonly surprises: string[] = [];
  readonly #options: ClientsOptions;
  readonly #startedMs = performance.now();
  readonly #lanes: Promise<void>[];
  #isEnding = false;
  #isGivenUp = false;

  constructor(options: ClientsOptions) {
    this.#options = options;
    this.#lanes = Array.from({ length: options.lanes }, (_, lane) => this.#lane(lane));
  }

  get acknowledged(): number {
    return this.hours.values().reduce((sum, hour) => sum + hour.acknowledged, 0);
  }

  tallyOf(name: string): HourTally {
    let tally = this.hours.get(name);
    if (tally === undefined) {
      tally = { sent: 0, acknowledged: 0 };
      this.hours.set(name, tally);
    }
    return tally;
  }

  /** Starts no more events. Answers once all are acknowledged, or false when `timeoutMs` were not enough. */
  async finish(timeoutMs: number): Promise<boolean> {
    this.#isEnding = true;
    const ended = Promise.all(this.#lanes);
    const inTime = await withDeadline(
      ended.then(() => true),
      timeoutMs,
      () => new Error("not all acknowledged"),
    ).catch(() => false);
    this.#isGivenUp = true;
    await ended;
    return inTime;
  }

  async #lane(lane: number): Promise<void> {
    const { seed, lanes, ratePerS } = this.#options;
    const random = new Random(seed + 7_919 * (lane + 1));
    const intervalMs = (1_000 * lanes) / ratePerS;
    let way: Way | undefined;
    let dueMs = performance.now() + random.fraction() * intervalMs;
    while (!this.#isEnding) {
      const aheadMs = dueMs - performance.now();
      if (aheadMs > POLL_MS) {
        await Bun.sleep(POLL_MS);
        continue;
      }
      if (aheadMs > 1) await Bun.sleep(aheadMs);
      // What was not sent during a fault is not made up for: that would be a burst, not a steady rate.
      dueMs = Math.max(dueMs + intervalMs, performance.now() - intervalMs);
      way = await this.#deliver(this.#newEvent(random), way, random);
    }
    way?.connection.close();
  }

  #newEvent(random: Random): ChaosEvent {
    const number = this.events.length;
    if (number >= EVENTS_MAX) throw new Error("too many events: each has a millisecond of its own");
    const { streams, pickHour, seed } = this.#options;
    const stream = random.pick(streams);
    const hour = pickHour(random);
    const event: ChaosEvent = {
      stream,
      at: hour + number,
      user: `user-${random.below(USERS)}`,
      kind: random.chance(0.3) ? "click" : "impression",
      id: `${seed}-${number}`,
      fate: "unsent",
      history: [],
    };
    this.events.push(event);
    this.tallyOf(hourKeyName(stream, hour)).sent += 1;
    return event;
  }

  /** Until it is acknowledged. Answers the way it went, if that is still good for another event. */
  async #deliver(event: ChaosEvent, present: Way | undefined, random: Random): Promise<Way | undefined> {
    let way = present;
    for (let attempt = 0; ; attempt++) {
      way = await this.#attempt(event, way, random);
      if (event.fate === "acknowledged" || event.fate === "refused" || this.#isGivenUp) return way;
      const ceilingMs = Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** attempt);
      await Bun.sleep(ceilingMs * (0.2 + 0.8 * random.fraction()));
    }
  }

  async #attempt(event: ChaosEvent, present: Way | undefined, random: Random): Promise<Way | undefined> {
    const atMs = performance.now();
    const port = random.pick(this.#options.ports);
    const way = present?.connection.isOver === false ? present : await wayTo(port);
    if (way === undefined) return this.#note(event, atMs, port, "no connection");
    const outcome = await this.#send(event, way.connection, random);
    this.#note(event, atMs, way.port, outcome);
    // Now and then over another connection, so that no lane clings to one instance.
    if (outcome === "204" && !random.chance(0.02)) return way;
    way.connection.close();
    return undefined;
  }

  /** Answers what came of it. */
  async #send(event: ChaosEvent, connection: HttpConnection, random: Random): Promise<string> {
    const startMs = performance.now();
    const patienceMs = this.#options.patienceMs * (0.5 + random.fraction() / 2);
    if (event.fate === "unsent") event.fate = "unknown";
    const sent = connection.send({ method: "POST", target: eventTarget(event) });
    const tooLate = new Error("no answer in time");
    try {
      const answer = await withDeadline(sent, patienceMs, () => tooLate);
      return this.#take(answer, event, performance.now() - startMs);
    } catch (error) {
      return error === tooLate ? "no answer" : "lost connection";
    }
  }

  #note(event: ChaosEvent, atMs: number, port: number, outcome: string): undefined {
    addTo(this.outcomes, outcome);
    if (outcome === "204") this.acknowledgedBy.set(port, (this.acknowledgedBy.get(port) ?? 0) + 1);
    event.history.push(`${Math.round(atMs - this.#startedMs)} ms :${port} ${outcome}`);
  }

  #take({ status, body }: Answer, event: ChaosEvent, ms: number): string {
    if (status === 204) {
      event.fate = "acknowledged";
      this.tallyOf(hourKeyName(event.stream, hourOf(event.at))).acknowledged += 1;
      this.latencies.add(ms);
      return "204";
    }
    if (status === 503) {
      this.refusalLatencies.add(ms);
      return `503 ${errorCode(body)}`;
    }
    // It may be stored: under its id it is safe to send again.
    if (status === 504) return "504";
    event.fate = "refused";
    this.surprises.push(`${eventTarget(event)} was answered with ${status} ${body}`);
    return String(status);
  }
}

async function wayTo(port: number): Promise<Way | undefined> {
  const opening = openConnection(port);
  try {
    const connection = await withDeadline(opening, CONNECT_TIMEOUT_MS, () => new Error("no connection in time"));
    return { port, connection };
  } catch {
    opening.then((late) => late.close()).catch(() => {});
    return undefined;
  }
}

/**
 * Clients that keep posting events through all faults of the service, and record independently what they sent and the
 * answers: the stores are judged by these records.
 *
 * Events with an id are sent again, under the same id, until they are acknowledged. Those without are sent once. Every
 * event has a unique time within its hour, which identifies its row.
 */
import { HOUR_MS, hourKeyName } from "../../../src/domain/event.ts";
import type { Random } from "../pipeline/random.ts";
import { eventTarget, type PostedEvent } from "./analytics-client.ts";
import { type Answer, type HttpConnection, LostConnectionError, openConnection } from "./http-connection.ts";
import type { StoredEvent } from "./stored.ts";

export interface SentEvent extends PostedEvent {
  readonly stream: string;
  /**
   * acknowledged: 204. refused: 503, and never acknowledged. unknown: sent, and nothing was heard of it.
   * unsent: no connection was to be had.
   */
  fate: "acknowledged" | "refused" | "unknown" | "unsent";
}

export interface LoadOptions {
  readonly ports: readonly number[];
  readonly random: Random;
  readonly clients: number;
  readonly streams: readonly string[];
  /** Starts of the hours that events fall in. */
  readonly hours: readonly number[];
  /** Share of the events that have an id. */
  readonly withId: number;
}

const USERS = 500;
const RETRY_PAUSE_MS = 5;

export class Load {
  /** In the order of their first attempts. */
  readonly events: SentEvent[] = [];
  /** Answers that no client should get, as text. */
  readonly surprises: string[] = [];
  /** The codes of all 503. */
  readonly refusalCodes = new Set<string>();
  /** Requests that were written and not answered. */
  losses = 0;
  readonly #options: LoadOptions;
  readonly #clients: Promise<void>[];
  #state: "running" | "finishing" | "giving up" = "running";
  #steps = 0;
  #alarm: { readonly atStep: number; readonly ring: () => void } | undefined;

  constructor(options: LoadOptions) {
    this.#options = options;
    this.#clients = Array.from({ length: options.clients }, () => this.#client());
  }

  /**
   * Calls back at a chosen step from now, before anything else happens here. A request that was written is a
   * step, and so is an acknowledgement that came: both are instants at which the service is busy.
   */
  afterSteps(count: number, ring: () => void): void {
    this.#alarm = { atStep: this.#steps + count, ring };
  }

  /** Starts no more events; those with an id are still sent until they are acknowledged. */
  async finish(): Promise<void> {
    this.#state = "finishing";
    await Promise.all(this.#clients);
  }

  /** Like finish(), but resends nothing. */
  async giveUp(): Promise<void> {
    this.#state = "giving up";
    await Promise.all(this.#clients);
  }

  async #client(): Promise<void> {
    let connection: HttpConnection | undefined;
    while (this.#state === "running") {
      const event = this.#newEvent();
      do {
        connection = await this.#connected(connection);
        if (connection !== undefined) await this.#deliver(connection, event);
      } while (this.#isToBeRepeated(event));
    }
    connection?.close();
  }

  #newEvent(): SentEvent {
    const { random, streams, hours, withId } = this.#options;
    const number = this.events.length;
    const event: SentEvent = {
      at: random.pick(hours) + (number % HOUR_MS),
      user: `user-${random.below(USERS)}`,
      kind: random.chance(0.3) ? "click" : "impression",
      stream: random.pick(streams),
      id: random.chance(withId) ? `event-${number}` : undefined,
      fate: "unsent",
    };
    this.events.push(event);
    return event;
  }

  #isToBeRepeated({ id, fate }: SentEvent): boolean {
    if (fate === "acknowledged" || fate === "refused" || this.#state === "giving up") return false;
    return fate === "unsent" || id !== undefined;
  }

  /** The connection there is, or a new one; undefined, after a pause, if none is to be had. */
  async #connected(present: HttpConnection | undefined): Promise<HttpConnection | undefined> {
    if (present !== undefined && !present.isOver) return present;
    try {
      return await openConnection(this.#options.random.pick(this.#options.ports));
    } catch {
      await Bun.sleep(RETRY_PAUSE_MS);
      return undefined;
    }
  }

  async #deliver(connection: HttpConnection, event: SentEvent): Promise<void> {
    try {
      const answering = connection.send({ method: "POST", target: eventTarget(event) });
      if (event.fate === "unsent") event.fate = "unknown";
      this.#step();
      await this.#take(await answering, event);
    } catch (error) {
      if (!(error instanceof LostConnectionError)) throw error;
      // Sent again after a 503, it may count now.
      event.fate = "unknown";
      this.losses += 1;
    }
  }

  async #take({ status, headers, body }: Answer, event: SentEvent): Promise<void> {
    if (status === 204) {
      event.fate = "acknowledged";
      this.#step();
      return;
    }
    if (status === 503) this.refusalCodes.add(errorCode(body));
    else this.surprises.push(`${status} ${body}`);
    // An earlier sending under the same id may have counted: it is sent again, until that is settled.
    if (event.id === undefined || status !== 503) event.fate = "refused";
    await Bun.sleep(1_000 * Number(headers.get("retry-after") ?? 0));
  }

  #step(): void {
    this.#steps += 1;
    if (this.#alarm === undefined || this.#steps < this.#alarm.atStep) return;
    const { ring } = this.#alarm;
    this.#alarm = undefined;
    ring();
  }
}

export function errorCode(body: string): string {
  return (JSON.parse(body) as { error: { code: string } }).error.code;
}

/** For readers of the test's output: was there enough of each? */
export function fatesOf(events: readonly SentEvent[]): string {
  const fates = Object.entries(Object.groupBy(events, ({ fate }) => fate));
  return fates.map(([fate, ofIt]) => `${ofIt.length} ${fate}`).join(", ");
}

/**
 * What is wrong with the rows, as text, if these are all the events that were ever sent: a lost, doubled,
 * refused or changed one, or one that nobody sent.
 */
export function rowFaults(sent: readonly SentEvent[], rows: readonly StoredEvent[]): string[] {
  const rowsByTime = Map.groupBy(rows, ({ at }) => at % HOUR_MS);
  const faults = sent.flatMap((event, number) => {
    const own = rowsByTime.get(number) ?? [];
    rowsByTime.delete(number);
    const what = `${event.fate} event ${number} (${eventTarget(event)})`;
    const isFine = event.fate === "unknown" ? own.length <= 1 : own.length === (event.fate === "acknowledged" ? 1 : 0);
    if (!isFine) return [`${what} has ${own.length} rows`];
    return own.filter((row) => !isRowOf(row, event)).map((row) => `${what} is stored as ${JSON.stringify(row)}`);
  });
  return [...faults, ...[...rowsByTime.values()].flat().map((row) => `nobody sent ${JSON.stringify(row)}`)];
}

function isRowOf(row: StoredEvent, { stream, at, kind, user, id }: SentEvent): boolean {
  const isSameHour = row.hour === at - (at % HOUR_MS);
  return (
    isSameHour &&
    row.stream === stream &&
    row.at === at &&
    row.kind === kind &&
    row.user === user &&
    row.id === (id ?? null)
  );
}

/** The hours of all streams that events fall in. */
export function hoursOf({ streams, hours }: Pick<LoadOptions, "streams" | "hours">) {
  return streams.flatMap((stream) => hours.map((hour) => ({ stream, hour, name: hourKeyName(stream, hour) })));
}

/**
 * Processes a message from any kind of source to its end: each of its events is stored or set aside. Refused events are
 * retried, and so are those of unknown outcome: with an id they count once, without one perhaps twice.
 *
 * Invariant: the end is reported only once it is reached. So a source that acknowledges only then loses nothing.
 */
import type { Event } from "../domain/event.ts";
import { type RefusalReason, UNKNOWN } from "../domain/refusal-reasons.ts";
import type { BulkOutcome } from "../pipeline/commit/bulk.ts";
import { StreamReservation } from "../pipeline/commit/stream-registry.ts";
import type { Pipeline } from "../pipeline/pipeline.ts";
import type { Log } from "../runtime/log.ts";
import { Hold } from "./hold.ts";
import {
  type Message,
  type MessageContent,
  type ReadingOptions,
  readMessage,
  readShortMessage,
} from "./message-content.ts";
import { PoisonBin } from "./poison-bin.ts";

export type MessageEnd =
  /** All of it is stored or set aside; at least one event is stored, or the message was empty. */
  | "done"
  /** Given up half way: it must be redelivered. */
  | "left"
  | Rejection;

/** No event of it can be counted: it is set aside. */
interface Rejection {
  readonly reason: string;
}

interface MessageIntakeOptions {
  readonly pipeline: Pipeline;
  readonly log: Log;
  readonly now: () => number;
  readonly name: string;
  readonly origin: string;
}

interface Rest {
  readonly events: readonly Event[];
  readonly reason: RefusalReason;
}

export class MessageIntake {
  readonly #options: MessageIntakeOptions;
  readonly #bin: PoisonBin;

  constructor(options: MessageIntakeOptions) {
    const { pipeline, log } = options;
    this.#options = options;
    this.#bin = new PoisonBin({ setAside: (poison) => pipeline.setAside(poison), log });
  }

  /** Why messages wait for something other than the pipeline; undefined if none does. */
  get heldBy(): string | undefined {
    return this.#bin.isFailing ? "cold_store_away" : undefined;
  }

  /**
   * For the messages of one connection. If it is lost, waiting messages are released, since they will be redelivered.
   */
  openHold(): Hold {
    const { pipeline, log, name } = this.#options;
    return new Hold({ refusal: () => pipeline.refusal, log, name });
  }

  async take(message: Message, hold: Hold): Promise<MessageEnd> {
    const streams = new StreamReservation(this.#options.pipeline.streams);
    try {
      return await this.#take(message, hold, streams);
    } finally {
      streams.release();
    }
  }

  /**
   * Stores messages that arrived together, if they are short and have only events: at 100,000 a second the promises of
   * take() would cost more than everything else. Returns the messages that were not stored, which take() must process:
   * it submits all their events again.
   */
  async takeTogether(messages: readonly Message[]): Promise<ReadonlySet<Message>> {
    const { pipeline } = this.#options;
    if (pipeline.refusal !== undefined) return new Set(messages);
    const left = new Set<Message>();
    const streams = new StreamReservation(pipeline.streams);
    try {
      const rules = this.#rules(streams);
      const events: Event[] = [];
      const messageOf: Message[] = [];
      for (const message of messages) {
        const content = readShortMessage(message, rules);
        if (content === undefined || content.poison.length > 0 || isDividedUnsafely(content)) left.add(message);
        else for (const event of content.events) messageOf[events.push(event) - 1] = message;
      }
      const { refused, unknown } = await pipeline.submitAll(events);
      for (const position of positionsIn(refused, unknown)) left.add(messageOf[position]!);
      return left;
    } finally {
      streams.release();
    }
  }

  #rules({ admits }: StreamReservation): ReadingOptions {
    const { pipeline, origin, now } = this.#options;
    const time = now();
    return { origin, now: time, earliest: pipeline.retention.earliestAccepted(time), defaultAt: undefined, admits };
  }

  async #take(message: Message, hold: Hold, streams: StreamReservation): Promise<MessageEnd> {
    const { pipeline } = this.#options;
    const { events, poison } = await readMessage(message, this.#rules(streams));
    if (poison.length === 0) return (await this.#store(events, hold)) ? "done" : "left";
    pipeline.ledger.refused.invalid += poison.length;
    const ends = await Promise.all([this.#store(events, hold), hold.untilEnd(this.#bin.put(poison))]);
    if (!ends.every(Boolean)) return "left";
    return events.length === 0 ? { reason: poison[0]!.reason } : "done";
  }

  /** Returns false if it was given up. */
  async #store(events: readonly Event[], hold: Hold): Promise<boolean> {
    const { pipeline } = this.#options;
    const { refusal } = pipeline;
    // An attempt would only add to the refusals in the ledger.
    if (refusal !== undefined && !(await hold.wait(refusal))) return false;
    let rest = await this.#submit(events);
    if (refusal === undefined && rest === undefined) return true;
    while (rest !== undefined) {
      if (!(await hold.wait(rest.reason))) return false;
      rest = await this.#submit(rest.events);
    }
    hold.eased();
    return true;
  }

  /** Returns what was not stored. Single events share batches with those of requests. */
  async #submit(events: readonly Event[]): Promise<Rest | undefined> {
    const { pipeline } = this.#options;
    if (events.length === 1) {
      const outcome = await pipeline.submit(events[0]!);
      return outcome && { events, reason: outcome.reason === UNKNOWN.reason ? "hot_store_away" : outcome.reason };
    }
    const { refused, unknown } = await pipeline.submitAll(events);
    const positions = positionsIn(refused, unknown);
    if (positions.length === 0) return undefined;
    const reason = refused[0]?.refusal.reason ?? "hot_store_away";
    return { events: positions.map((position) => events[position]!), reason };
  }

  /** Gives up poison that waits for the cold store. */
  stop(): void {
    this.#bin.stop();
  }
}

/** If only some of its events are stored and all are submitted again, those without an id count twice. */
function isDividedUnsafely({ events }: MessageContent): boolean {
  return events.length > 1 && events.some(({ id }) => id === undefined);
}

function positionsIn(refused: BulkOutcome["refused"], unknown: BulkOutcome["unknown"]): number[] {
  return [...refused.flatMap(({ positions }) => positions), ...unknown];
}

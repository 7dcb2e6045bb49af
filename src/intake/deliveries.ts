/**
 * The messages that one session has received: processes each, and reports its end to the driver.
 *
 * Invariant: a message is settled at most once, and never after the session has ended, because the broker then
 * redelivers it. A session ends once, with the first reason found.
 */

import { letOthersRun } from "../runtime/clock.ts";
import type { Log } from "../runtime/log.ts";
import type { Hold } from "./hold.ts";
import type { Message } from "./message-content.ts";
import type { MessageEnd, MessageIntake } from "./message-intake.ts";

/** Reading these blocks the event loop for about 1 ms. */
const TOGETHER_MAX = 500;
const TOGETHER_MAX_BYTES = 65_536;
/** Fewer messages are submitted singly, and share batches with the events of requests. */
const TOGETHER_MIN = 16;

/** Counts of messages since this process started. */
export interface SourceCounts {
  received: number;
  /** Received messages that the sender marks as possible repetitions. */
  redelivered: number;
  /** Every event of the message is stored or set aside. */
  acknowledged: number;
  /** No event of the message could be counted: all of it is set aside. */
  rejected: number;
  /** Connections that were lost or could not be opened. */
  failures: number;
}

export interface Delivery extends Message {
  settle(end: MessageEnd): void;
}

interface DeliveriesOptions {
  readonly intake: MessageIntake;
  readonly counts: SourceCounts;
  readonly log: Log;
}

export class Deliveries {
  readonly hold: Hold;
  readonly #options: DeliveriesOptions;
  readonly #ending = Promise.withResolvers<unknown>();
  #arrived: Delivery[] = [];
  #isReading = false;
  #isOver = false;
  #inFlight = 0;
  #bytesInFlight = 0;
  #waiting: { readonly isEnough: () => boolean; readonly reached: () => void }[] = [];

  constructor(options: DeliveriesOptions) {
    this.#options = options;
    this.hold = options.intake.openHold();
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get bytesInFlight(): number {
    return this.#bytesInFlight;
  }

  /** Resolves with the reason. */
  get ended(): Promise<unknown> {
    return this.#ending.promise;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  take(delivery: Delivery): void {
    this.#options.counts.received += 1;
    this.#inFlight += 1;
    this.#bytesInFlight += sizeOf(delivery);
    this.#arrived.push(delivery);
    if (!this.#isReading) void this.#readArrived();
  }

  /** Submits messages together that arrived together, so that they share a batch. */
  async #readArrived(): Promise<void> {
    this.#isReading = true;
    while (this.#arrived.length > 0) {
      await letOthersRun();
      const deliveries = this.#arrived;
      this.#arrived = [];
      for (let next = 0; next < deliveries.length; ) {
        if (next > 0) await letOthersRun();
        const some = deliveries.slice(next, endOfTogether(deliveries, next));
        next += some.length;
        if (some.length < TOGETHER_MIN) for (const delivery of some) void this.#settle(delivery);
        else void this.#settleTogether(some);
      }
    }
    this.#isReading = false;
  }

  /** Never rejects. */
  async #settleTogether(deliveries: readonly Delivery[]): Promise<void> {
    let left: ReadonlySet<Message> | undefined;
    try {
      if (!this.#isOver) left = await this.#options.intake.takeTogether(deliveries);
    } catch (error) {
      this.#fail(error);
    }
    for (const delivery of deliveries) {
      if (left?.has(delivery) === false) this.#tell(delivery, "done");
      else void this.#settle(delivery);
    }
  }

  /** Never rejects. */
  async #settle(delivery: Delivery): Promise<void> {
    const { intake } = this.#options;
    try {
      const end = this.#isOver ? "left" : await intake.take(delivery, this.hold);
      this.#tell(delivery, end);
    } catch (error) {
      this.#fail(error);
      this.#tell(delivery, "left");
    }
  }

  /** Never throws. */
  #tell(delivery: Delivery, end: MessageEnd): void {
    const { counts } = this.#options;
    this.#inFlight -= 1;
    this.#bytesInFlight -= sizeOf(delivery);
    if (this.#waiting.length > 0) this.#wakeWaiting();
    if (this.#isOver) return;
    if (end === "done") counts.acknowledged += 1;
    else if (end !== "left") counts.rejected += 1;
    try {
      delivery.settle(end);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The outcome of a message is unknown. */
  #fail(error: unknown): void {
    this.#options.log.error({ error }, "a message could not be processed, it will be redelivered");
    this.end(error);
  }

  /** Resolves once no message is in flight or the session has ended. */
  drain(): Promise<void> {
    return this.until(() => this.#inFlight === 0);
  }

  /** Resolves once `isEnough` or the session has ended. */
  async until(isEnough: () => boolean): Promise<void> {
    if (isEnough() || this.#isOver) return;
    await new Promise<void>((reached) => this.#waiting.push({ isEnough, reached }));
  }

  #wakeWaiting(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) {
      if (this.#isOver || one.isEnough()) one.reached();
      else this.#waiting.push(one);
    }
  }

  /** Ends the session: nothing is settled afterwards. */
  end(why: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.hold.end();
    this.#wakeWaiting();
    this.#ending.resolve(why);
  }
}

function endOfTogether(arrived: readonly Delivery[], start: number): number {
  const latest = Math.min(start + TOGETHER_MAX, arrived.length);
  let bytes = 0;
  let end = start;
  for (; end < latest && bytes < TOGETHER_MAX_BYTES; end++) bytes += sizeOf(arrived[end]!);
  return end;
}

function sizeOf({ body }: Message): number {
  return body?.length ?? 0;
}

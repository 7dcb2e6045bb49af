/**
 * The messages that one session has received: takes each to its end, and tells the driver which end that was.
 *
 * Invariant: a message is settled at most once, and never after the session has ended, since the broker then delivers
 * it again. A session ends once, by whoever finds the first reason.
 */
import type { Log } from "../runtime/log.ts";
import { letOthersRun } from "../runtime/yield.ts";
import type { Hold } from "./hold.ts";
import type { Message } from "./message-content.ts";
import type { MessageEnd, MessageIntake } from "./message-intake.ts";
import type { SourceCounts } from "./source.ts";

/** As many are read in about 1 ms, for which the event loop is blocked. */
const TOGETHER_MAX = 500;
const TOGETHER_MAX_BYTES = 65_536;
/** Fewer share batches with the events of requests. */
const TOGETHER_MIN = 16;

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
  #underWay = 0;
  #bytesUnderWay = 0;
  #waiting: { readonly isEnough: () => boolean; readonly reached: () => void }[] = [];

  constructor(options: DeliveriesOptions) {
    this.#options = options;
    this.hold = options.intake.openHold();
  }

  /** Received and not settled. */
  get underWay(): number {
    return this.#underWay;
  }

  get bytesUnderWay(): number {
    return this.#bytesUnderWay;
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
    this.#underWay += 1;
    this.#bytesUnderWay += sizeOf(delivery);
    this.#arrived.push(delivery);
    if (!this.#isReading) void this.#readArrived();
  }

  /** Messages that arrived in one piece over the wire are submitted together, and so share a batch. */
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
    this.#underWay -= 1;
    this.#bytesUnderWay -= sizeOf(delivery);
    if (this.#waiting.length > 0) this.#tellWaiting();
    if (this.#isOver) return;
    if (end === "done") counts.acknowledged += 1;
    else if (end !== "left") counts.rejected += 1;
    try {
      delivery.settle(end);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** What became of a message is not known. */
  #fail(error: unknown): void {
    this.#options.log.error({ error }, "a message could not be taken, it will be delivered again");
    this.end(error);
  }

  /** Resolves once none is in flight, or the session has ended. */
  drain(): Promise<void> {
    return this.until(() => this.#underWay === 0);
  }

  /** Resolves once so few are in flight, or the session has ended. */
  async until(isEnough: () => boolean): Promise<void> {
    if (isEnough() || this.#isOver) return;
    await new Promise<void>((reached) => this.#waiting.push({ isEnough, reached }));
  }

  #tellWaiting(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) {
      if (this.#isOver || one.isEnough()) one.reached();
      else this.#waiting.push(one);
    }
  }

  /** The session is over: nothing is settled from now on. */
  end(why: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.hold.release();
    this.#tellWaiting();
    this.#ending.resolve(why);
  }
}

/** Of a part of what arrived. */
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

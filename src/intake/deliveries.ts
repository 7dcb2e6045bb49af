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

/** The event loop is blocked no longer than that while messages are read, which arrive by the hundred. */
const SLICE_MS = 1;

export interface Delivery {
  readonly message: Message;
  settle(end: MessageEnd): void;
}

export interface DeliveriesOptions {
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
  #waiting: { readonly count: number; readonly reached: () => void }[] = [];

  constructor(options: DeliveriesOptions) {
    this.#options = options;
    this.hold = options.intake.openHold();
  }

  /** Received and not settled. */
  get underWay(): number {
    return this.#underWay;
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
      let sliceEndMs = performance.now() + SLICE_MS;
      for (const delivery of deliveries) {
        void this.#settle(delivery);
        if (performance.now() < sliceEndMs) continue;
        await letOthersRun();
        sliceEndMs = performance.now() + SLICE_MS;
      }
    }
    this.#isReading = false;
  }

  /** Never rejects. */
  async #settle(delivery: Delivery): Promise<void> {
    const { intake, counts, log } = this.#options;
    try {
      const end = this.#isOver ? "left" : await intake.take(delivery.message, this.hold);
      if (!this.#isOver) {
        if (end === "done") counts.acknowledged += 1;
        else if (end !== "left") counts.rejected += 1;
        delivery.settle(end);
      }
    } catch (error) {
      log.error({ error }, "a message could not be taken, it will be delivered again");
      this.end(error);
    }
    this.#underWay -= 1;
    if (this.#waiting.length > 0) this.#tellWaiting();
  }

  /** Resolves once at most `count` messages are in flight, or the session has ended. */
  async atMost(count: number): Promise<void> {
    if (this.#underWay <= count || this.#isOver) return;
    await new Promise<void>((reached) => this.#waiting.push({ count, reached }));
  }

  #tellWaiting(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const one of waiting) {
      if (this.#underWay <= one.count || this.#isOver) one.reached();
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

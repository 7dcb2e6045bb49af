/**
 * One connection to the broker, from its handshake to its end, and what is consumed over it.
 *
 * Invariants: a delivery is acknowledged once what became of it is settled, and never after the connection has
 * ended, since the broker then delivers it again. The broker's prefetch bounds what is under way. When it ends,
 * for whatever reason, all of it ends: connection, channel and consumer are not mended one by one.
 */
import { type Channel, type ChannelModel, type ConsumeMessage, connect, type Message } from "amqplib";
import { withDeadline } from "../../runtime/deadline.ts";
import type { Log } from "../../runtime/log.ts";
import { letOthersRun } from "../../runtime/yield.ts";
import type { Hold } from "../hold.ts";
import type { MessageEnd, MessageIntake } from "../message-intake.ts";
import type { SourceCounts } from "../source.ts";
import { AckWindow } from "./ack-window.ts";

export interface AmqpSessionOptions {
  readonly url: string;
  readonly queue: string;
  readonly prefetch: number;
  readonly intake: MessageIntake;
  readonly counts: SourceCounts;
  readonly log: Log;
}

/** A broker that is there answers within that, or is as good as away. */
const ANSWER_TIMEOUT_MS = 10_000;
const CLOSE_GRACE_MS = 1_000;
/** A silent broker is noticed after two or three of these. The URL may say otherwise: ?heartbeat=30. */
const HEARTBEAT_S = 10;
/** Others wait no longer than that while deliveries are read, which come by the hundred. */
const SLICE_MS = 1;

const STREAM_FOUND =
  "the queue is a stream, which does not remember what was consumed: what came while this was away would be " +
  "lost; use a quorum or a classic queue";

/** Throws what the broker, or the way to it, said. */
export async function openSession(options: AmqpSessionOptions): Promise<AmqpSession> {
  const model = await connect(withHeartbeat(options.url), {
    timeout: ANSWER_TIMEOUT_MS,
    noDelay: true,
    keepAlive: true,
    clientProperties: { connection_name: "hourglass" },
  });
  const session = new AmqpSession(model, options);
  try {
    await withDeadline(session.begin(), ANSWER_TIMEOUT_MS, () => new Error("the broker does not answer"));
    return session;
  } catch (error) {
    await session.close();
    throw error;
  }
}

function withHeartbeat(text: string): string {
  const url = new URL(text);
  if (!url.searchParams.has("heartbeat")) url.searchParams.set("heartbeat", String(HEARTBEAT_S));
  return url.href;
}

export class AmqpSession {
  readonly hold: Hold;
  readonly #options: AmqpSessionOptions;
  readonly #model: ChannelModel;
  readonly #window = new AckWindow();
  readonly #ending = Promise.withResolvers<unknown>();
  #channel: Channel | undefined;
  #consumerTag: string | undefined;
  #arrived: ConsumeMessage[] = [];
  #isReading = false;
  #isAckDue = false;
  #isOver = false;
  #underWay = 0;
  #idle: (() => void) | undefined;

  constructor(model: ChannelModel, options: AmqpSessionOptions) {
    this.#options = options;
    this.#model = model;
    this.hold = options.intake.openHold();
    model.on("error", (error) => this.#end(error));
    model.on("close", (error) => this.#end(error ?? new Error("the broker closed the connection")));
  }

  /** Why it ended, once it has. */
  get ended(): Promise<unknown> {
    return this.#ending.promise;
  }

  /** Deliveries that are not settled. */
  get underWay(): number {
    return this.#underWay;
  }

  async begin(): Promise<void> {
    const { queue, prefetch } = this.#options;
    const channel = await this.#model.createChannel();
    this.#channel = channel;
    channel.on("error", (error) => this.#end(error));
    channel.on("close", () => this.#end(new Error("the broker closed the channel")));
    await channel.checkQueue(queue);
    await channel.prefetch(prefetch);
    const { consumerTag } = await channel.consume(queue, (delivery) => this.#take(delivery));
    this.#consumerTag = consumerTag;
  }

  #take(delivery: ConsumeMessage | null): void {
    if (delivery === null) return void this.#end(new Error("the broker ended the consumer: is the queue gone?"));
    if (delivery.properties.headers?.["x-stream-offset"] !== undefined) return void this.#end(new Error(STREAM_FOUND));
    const { counts } = this.#options;
    counts.received += 1;
    if (delivery.fields.redelivered) counts.redelivered += 1;
    this.#underWay += 1;
    this.#arrived.push(delivery);
    if (!this.#isReading) void this.#readArrived();
  }

  /** What came in one piece over the wire is submitted together, and so shares a batch. */
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
  async #settle(delivery: ConsumeMessage): Promise<void> {
    const { contentType, contentEncoding, messageId } = delivery.properties;
    const message = { id: messageId, contentType, contentEncoding, body: delivery.content };
    try {
      if (!this.#isOver) this.#tell(delivery, await this.#options.intake.take(message, this.hold));
    } catch (error) {
      this.#options.log.error({ error }, "a message could not be taken, it will come again");
      this.#end(error);
    }
    this.#underWay -= 1;
    if (this.#underWay === 0) this.#idle?.();
  }

  #tell(delivery: ConsumeMessage, end: MessageEnd): void {
    if (this.#isOver || end === "left") return;
    const { counts } = this.#options;
    const { deliveryTag } = delivery.fields;
    if (end === "poison") {
      counts.rejected += 1;
      // Its queue may have a dead-letter exchange, which gets it then.
      this.#channel!.nack(delivery, false, false);
      this.#window.settleTold(deliveryTag);
      return;
    }
    counts.acknowledged += 1;
    this.#window.settle(deliveryTag);
    if (this.#isAckDue) return;
    this.#isAckDue = true;
    setImmediate(() => this.#acknowledge());
  }

  /** All that were settled in the same turn: those of one batch mostly. */
  #acknowledge(): void {
    this.#isAckDue = false;
    if (this.#isOver) return;
    const { upTo, single } = this.#window.take();
    if (upTo !== undefined) this.#channel!.ack(tagged(upTo), true);
    for (const tag of single) this.#channel!.ack(tagged(tag));
  }

  #end(why: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.hold.release();
    this.#ending.resolve(why);
  }

  /** Takes no more deliveries, and settles those that it has within `graceMs`. Never throws. */
  async drain(graceMs: number): Promise<void> {
    const settled = async () => {
      if (this.#consumerTag !== undefined) await this.#channel?.cancel(this.#consumerTag);
      // What waits is not under way.
      this.hold.release();
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#idle = resolve;
      if (this.#underWay > 0) await promise;
      this.#acknowledge();
      // The close of a connection would overtake the acknowledgements; that of a channel comes behind them.
      await this.#channel?.close();
    };
    await withDeadline(settled(), graceMs, () => new Error("not settled in time")).catch(() => {});
  }

  /** What is not acknowledged by now goes back to the queue. Never throws. */
  async close(): Promise<void> {
    this.#end(new Error("it was closed"));
    const closed = this.#model.close();
    await withDeadline(closed, CLOSE_GRACE_MS, () => new Error("no answer")).catch(() => {});
    // A broker that has fallen silent would keep the socket open; the client has no other way to it.
    const { stream } = this.#model.connection as { stream?: { destroy?: () => void } };
    stream?.destroy?.();
  }
}

/** All that an acknowledgement looks at. */
function tagged(deliveryTag: number): Message {
  return { fields: { deliveryTag } } as Message;
}

/**
 * A session with RabbitMQ (AMQP 0-9-1). The queue belongs to its operator: it is consumed as it is, and never declared.
 *
 * Invariant: a delivery is acknowledged once it is settled. The broker's prefetch bounds what is in flight.
 */
import { type Message as AmqpMessage, type Channel, type ChannelModel, type ConsumeMessage, connect } from "amqplib";
import { waitAtMost } from "../runtime/clock.ts";
import type { RabbitMqPlace } from "../settings/broker-url.ts";
import { LAG_REFRESH_MS, type Lag, type Session, type SessionOptions } from "./broker-source.ts";
import { Deliveries } from "./deliveries.ts";
import { type Message, MessageBody, shortIdOf } from "./message-content.ts";
import type { MessageEnd } from "./message-intake.ts";

const CONNECT_TIMEOUT_MS = 10_000;
const CLOSE_GRACE_MS = 1_000;
/** A silent broker is noticed after two or three of these. The URL can override it: ?heartbeat=30. */
const HEARTBEAT_S = 10;

const STREAM_FOUND =
  "the queue is a stream, which does not remember what was consumed: messages that arrive while no instance runs " +
  "would be lost; use a quorum or a classic queue";

function withHeartbeat(text: string): string {
  const url = new URL(text);
  if (!url.searchParams.has("heartbeat")) url.searchParams.set("heartbeat", String(HEARTBEAT_S));
  return url.href;
}

export class RabbitMqSession implements Session {
  readonly deliveries: Deliveries;
  readonly openTimeoutMs = 2 * CONNECT_TIMEOUT_MS;
  readonly #url: string;
  readonly #options: SessionOptions;
  readonly #window = new AckWindow();
  #model: ChannelModel | undefined;
  #channel: Channel | undefined;
  #consumerTag: string | undefined;
  #isAckDue = false;
  #lagging: Timer | undefined;
  #lag = 0;

  constructor({ url }: RabbitMqPlace, options: SessionOptions) {
    this.#url = withHeartbeat(url);
    this.#options = options;
    this.deliveries = new Deliveries(options);
  }

  get lags(): readonly Lag[] {
    return [{ lag: this.#lag }];
  }

  async open(): Promise<void> {
    const { queue, prefetch, ca } = this.#options;
    const { deliveries } = this;
    const model = await connect(this.#url, {
      timeout: CONNECT_TIMEOUT_MS,
      noDelay: true,
      keepAlive: true,
      clientProperties: { connection_name: "hourglass" },
      ...(ca !== undefined && { ca: [ca] }),
    });
    this.#model = model;
    model.on("error", (error) => deliveries.end(error));
    model.on("close", (error) => deliveries.end(error ?? new Error("the broker closed the connection")));
    const channel = await model.createChannel();
    this.#channel = channel;
    channel.on("error", (error) => deliveries.end(error));
    channel.on("close", () => deliveries.end(new Error("the broker closed the channel")));
    await this.#refreshLag();
    await channel.prefetch(prefetch);
    const { consumerTag } = await channel.consume(queue, (delivery) => this.#take(delivery));
    this.#consumerTag = consumerTag;
    this.#lagging = setInterval(() => {
      this.#refreshLag().catch((error) => deliveries.end(error));
    }, LAG_REFRESH_MS);
  }

  /** Rejects if there is no such queue. */
  async #refreshLag(): Promise<void> {
    this.#lag = (await this.#channel!.checkQueue(this.#options.queue)).messageCount;
  }

  #take(delivery: ConsumeMessage | null): void {
    if (delivery === null)
      return void this.deliveries.end(new Error("the broker ended the consumer: is the queue gone?"));
    if (delivery.properties.headers?.["x-stream-offset"] !== undefined)
      return void this.deliveries.end(new Error(STREAM_FOUND));
    if (delivery.fields.redelivered) this.#options.counts.redelivered += 1;
    this.deliveries.take({ ...messageOf(delivery), settle: (end) => this.#settle(delivery, end) });
  }

  #settle(delivery: ConsumeMessage, end: MessageEnd): void {
    // It returns to the queue when the channel closes.
    if (end === "left") return;
    const { deliveryTag } = delivery.fields;
    if (end !== "done") {
      // If the queue has a dead-letter exchange, the message goes there.
      this.#channel!.nack(delivery, false, false);
      this.#window.settleRejected(deliveryTag);
      return;
    }
    this.#window.settle(deliveryTag);
    if (this.#isAckDue) return;
    this.#isAckDue = true;
    setImmediate(() => this.#acknowledge());
  }

  /** Acknowledges all deliveries settled in the same tick, usually those of one batch. */
  #acknowledge(): void {
    this.#isAckDue = false;
    if (this.deliveries.isOver) return;
    const { upTo, single } = this.#window.take();
    if (upTo !== undefined) this.#channel!.ack(tagged(upTo), true);
    for (const tag of single) this.#channel!.ack(tagged(tag));
  }

  async drain(): Promise<void> {
    await this.#channel!.cancel(this.#consumerTag!);
    // Held messages will not be settled in time.
    this.deliveries.hold.release();
    await this.deliveries.drain();
    this.#acknowledge();
    // Closing the connection could overtake the acknowledgements; closing the channel cannot.
    await this.#channel!.close();
  }

  /** Unacknowledged messages return to the queue. */
  async close(): Promise<void> {
    clearInterval(this.#lagging);
    if (this.#model === undefined) return;
    await waitAtMost(CLOSE_GRACE_MS, this.#model.close());
    // A silent broker would keep the socket open, and the client offers no other way to close it.
    const { stream } = this.#model.connection as { stream?: { destroy?: () => void } };
    stream?.destroy?.();
  }
}

/** An id that is not UTF-8 takes up to three times its 255 bytes as a text. */
export function messageOf({ properties, content }: AmqpMessage): Message {
  const { contentType, contentEncoding, messageId } = properties;
  const id = messageId === undefined ? undefined : shortIdOf(messageId);
  return { id, contentType, contentEncoding, body: new MessageBody(content) };
}

/** The only field that an acknowledgement uses. */
function tagged(deliveryTag: number): AmqpMessage {
  return { fields: { deliveryTag } } as AmqpMessage;
}

interface DueAcks {
  /** Covers all deliveries up to this tag; undefined if there is nothing new below the first open one. */
  readonly upTo: number | undefined;
  readonly single: readonly number[];
}

/**
 * Tracks the settled deliveries of a channel, and how to acknowledge them with the fewest frames: one acknowledgement
 * covers all deliveries up to a tag, as long as none before it is open; the others are acknowledged one by one.
 *
 * Invariant: tags count up from 1 without gaps, as a channel's do, and each is acknowledged once.
 */
export class AckWindow {
  /** Ascending, and no more than the prefetch: settled tags take no memory, however long an earlier one is open. */
  readonly #open = new Set<number>();
  /** Above all tags seen so far. */
  #next = 1;
  #due: number[] = [];

  /** The delivery must be acknowledged. */
  settle(tag: number): void {
    this.settleRejected(tag);
    this.#due.push(tag);
  }

  settleRejected(tag: number): void {
    while (this.#next < tag) this.#open.add(this.#next++);
    if (tag === this.#next) this.#next += 1;
    else this.#open.delete(tag);
  }

  take(): DueAcks {
    const firstOpen = this.#open.values().next().value ?? this.#next;
    const due = this.#due;
    this.#due = [];
    let upTo: number | undefined;
    const single: number[] = [];
    for (const tag of due) {
      if (tag >= firstOpen) single.push(tag);
      else if (upTo === undefined || tag > upTo) upTo = tag;
    }
    return { upTo, single };
  }
}

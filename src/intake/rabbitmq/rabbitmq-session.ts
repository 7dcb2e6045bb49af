/**
 * A session with RabbitMQ (AMQP 0-9-1). The queue is its operator's: it is never declared here, and consumed as it is.
 *
 * Invariant: a delivery is acknowledged once it is settled. The broker's prefetch bounds what is in flight.
 */
import { type Channel, type ChannelModel, type ConsumeMessage, connect, type Message } from "amqplib";
import { withDeadline } from "../../runtime/deadline.ts";
import type { RabbitMqPlace } from "../../settings/broker-url.ts";
import { Deliveries } from "../deliveries.ts";
import type { MessageEnd } from "../message-intake.ts";
import type { Session, SessionOptions } from "../session.ts";
import { AckWindow } from "./ack-window.ts";

/** A broker that works answers within that. */
const ANSWER_TIMEOUT_MS = 10_000;
const CLOSE_GRACE_MS = 1_000;
/** A silent broker is noticed after two or three of these. The URL may say otherwise: ?heartbeat=30. */
const HEARTBEAT_S = 10;

const STREAM_FOUND =
  "the queue is a stream, which does not remember what was consumed: messages that arrive while no instance runs " +
  "would be lost; use a quorum or a classic queue";

/** Throws what the broker, or the way to it, said. */
export async function openRabbitMqSession(place: RabbitMqPlace, options: SessionOptions): Promise<Session> {
  const { ca } = options;
  const model = await connect(withHeartbeat(place.url), {
    timeout: ANSWER_TIMEOUT_MS,
    noDelay: true,
    keepAlive: true,
    clientProperties: { connection_name: "hourglass" },
    ...(ca !== undefined && { ca: [ca] }),
  });
  const session = new RabbitMqSession(model, options);
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

class RabbitMqSession implements Session {
  readonly #options: SessionOptions;
  readonly #model: ChannelModel;
  readonly #deliveries: Deliveries;
  readonly #window = new AckWindow();
  readonly #ending = Promise.withResolvers<unknown>();
  #channel: Channel | undefined;
  #consumerTag: string | undefined;
  #isAckDue = false;
  #isOver = false;

  constructor(model: ChannelModel, options: SessionOptions) {
    this.#options = options;
    this.#model = model;
    this.#deliveries = new Deliveries({ ...options, onFailure: (error) => this.#end(error) });
    model.on("error", (error) => this.#end(error));
    model.on("close", (error) => this.#end(error ?? new Error("the broker closed the connection")));
  }

  get ended(): Promise<unknown> {
    return this.#ending.promise;
  }

  get hold() {
    return this.#deliveries.hold;
  }

  get underWay(): number {
    return this.#deliveries.underWay;
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
    const { headers, contentType, contentEncoding, messageId } = delivery.properties;
    if (headers?.["x-stream-offset"] !== undefined) return void this.#end(new Error(STREAM_FOUND));
    if (delivery.fields.redelivered) this.#options.counts.redelivered += 1;
    this.#deliveries.take({
      message: { id: messageId, contentType, contentEncoding, body: delivery.content },
      settle: (end) => this.#settle(delivery, end),
    });
  }

  #settle(delivery: ConsumeMessage, end: MessageEnd): void {
    // It goes back to the queue when the channel closes.
    if (end === "left") return;
    const { deliveryTag } = delivery.fields;
    if (end !== "done") {
      // Its queue may have a dead-letter exchange, which gets it then.
      this.#channel!.nack(delivery, false, false);
      this.#window.settleTold(deliveryTag);
      return;
    }
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
    this.#deliveries.end();
    this.#ending.resolve(why);
  }

  async drain(graceMs: number): Promise<void> {
    const settled = async () => {
      if (this.#consumerTag !== undefined) await this.#channel?.cancel(this.#consumerTag);
      // What is held will not be settled in time.
      this.hold.release();
      await this.#deliveries.atMost(0);
      this.#acknowledge();
      // The close of a connection would overtake the acknowledgements; that of a channel comes behind them.
      await this.#channel?.close();
    };
    await withDeadline(settled(), graceMs, () => new Error("not settled in time")).catch(() => {});
  }

  /** What is not acknowledged by now goes back to the queue. */
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

/**
 * An AMQP 1.0 session, with ActiveMQ, RabbitMQ and others.
 *
 * Invariants: a delivery is accepted once it is settled, and rejected with the reason if none of its events can be
 * counted. The broker's credit never allows more than the prefetch in flight. It gets new credit only when it has used
 * up the old one, because RabbitMQ 3 takes new credit as the total, whatever it has sent meanwhile.
 */
import { isIP, type Socket } from "node:net";
import rhea, {
  type Message as Amqp10Message,
  type Connection,
  type Delivery,
  type EventContext,
  type Receiver,
} from "rhea";
import { waitAtMost } from "../runtime/clock.ts";
import type { Amqp10Place } from "../settings/broker-url.ts";
import type { Session, SessionOptions } from "./broker-source.ts";
import { Deliveries } from "./deliveries.ts";
import { type Message, MessageBody, shortIdOf } from "./message-content.ts";
import type { MessageEnd } from "./message-intake.ts";

const CLOSE_GRACE_MS = 1_000;
/** A silent broker is noticed after twice this time. */
const IDLE_TIMEOUT_MS = 10_000;
/** The client's limit per session. */
const UNSETTLED_MAX = 2_000;
const ANONYMOUS = "anonymous";
const REJECTED = "amqp:not-allowed";
const DATA_SECTION = 0x75;

export class Amqp10Session implements Session {
  readonly deliveries: Deliveries;
  readonly openTimeoutMs = 10_000;
  readonly #options: SessionOptions;
  readonly #connection: Connection;
  readonly #receiver: Receiver;
  readonly #opening = Promise.withResolvers<void>();
  readonly #disconnecting = Promise.withResolvers<void>();
  /** How many messages the broker may still send. */
  #credit = 0;
  #isCreditDue = false;
  #isDraining = false;

  constructor(place: Amqp10Place, options: SessionOptions) {
    this.#options = options;
    this.deliveries = new Deliveries(options);
    this.#connection = rhea
      .create_container({ id: `hourglass-${crypto.randomUUID()}` })
      .connect(connectionOptions(place, options.ca));
    this.#listen();
    this.#receiver = this.#connection.open_receiver({
      source: options.queue,
      credit_window: 0,
      autoaccept: false,
      autosettle: true,
    });
    this.#receiver.on("receiver_open", () => {
      this.#giveCredit();
      this.#opening.resolve();
    });
    this.#receiver.on("message", (context: EventContext) => this.#take(context));
  }

  #listen(): void {
    const connection = this.#connection;
    const end = (what: string, error: unknown) => this.deliveries.end(reasonOf(error) ?? new Error(what));
    const lost = (error?: unknown) => {
      this.#disconnecting.resolve();
      end("the connection was lost", error);
    };
    connection.on("disconnected", ({ error }) => lost(error));
    // The client ignores the close of its socket, which may be the only sign of a killed broker.
    this.#socket?.on("close", () => lost());
    for (const part of ["connection", "session", "receiver"] as const) {
      for (const event of [`${part}_error`, `${part}_close`])
        connection.on(event, (context) => end(`the broker closed the ${part}`, context.error ?? context[part]?.error));
    }
    for (const event of ["error", "protocol_error"]) connection.on(event, (error) => end("a protocol error", error));
  }

  open(): Promise<void> {
    return this.#opening.promise;
  }

  #take({ message, delivery }: EventContext): void {
    if (message === undefined || delivery === undefined) return;
    this.#credit -= 1;
    this.#scheduleCredit();
    if (this.#isDraining) return void delivery.release();
    if ((message.delivery_count ?? 0) > 0) this.#options.counts.redelivered += 1;
    this.deliveries.take({ ...messageOf(message), settle: (end) => this.#settle(delivery, end) });
  }

  #settle(delivery: Delivery, end: MessageEnd): void {
    if (end === "left") return void delivery.release();
    if (end === "done") delivery.accept();
    else delivery.reject({ condition: REJECTED, description: end.reason });
    this.#scheduleCredit();
  }

  #scheduleCredit(): void {
    if (this.#isCreditDue || this.#credit > 0) return;
    this.#isCreditDue = true;
    setImmediate(() => this.#giveCredit());
  }

  /** Gives credit by halves, so that one half arrives while the other is stored. */
  #giveCredit(): void {
    this.#isCreditDue = false;
    if (this.deliveries.isOver || this.#isDraining || this.#credit > 0) return;
    const prefetch = Math.min(this.#options.prefetch, UNSETTLED_MAX);
    const room = prefetch - this.deliveries.inFlight;
    const half = Math.ceil(prefetch / 2);
    if (room < half) return;
    this.#credit = half;
    this.#receiver.add_credit(half);
  }

  /** Releases messages that are held or arrive from now on, so that the broker has them back at once. */
  async drain(): Promise<void> {
    this.#isDraining = true;
    this.deliveries.hold.release();
    await this.deliveries.drain();
  }

  /** Unsettled messages return to the queue. */
  async close(): Promise<void> {
    this.#connection.close();
    this.#connection.once("connection_close", () => this.#disconnecting.resolve());
    await waitAtMost(CLOSE_GRACE_MS, this.#disconnecting.promise);
    this.#socket?.destroy();
  }

  get #socket(): Socket | undefined {
    return (this.#connection as unknown as { readonly socket?: Socket }).socket;
  }
}

function connectionOptions({ host, port, isTls, login }: Amqp10Place, ca: string | undefined) {
  return {
    ...{ host, port, reconnect: false, idle_time_out: IDLE_TIMEOUT_MS },
    ...(isTls && { transport: "tls" as const, servername: nameToAskFor(host), ...(ca !== undefined && { ca: [ca] }) }),
    // Brokers begin with SASL even if no password is needed. A name alone selects its mechanism ANONYMOUS.
    ...(login.username === undefined ? { username: ANONYMOUS } : login),
  };
}

/** TLS can only ask for a name. Given undefined, the client would use the host. */
function nameToAskFor(host: string): string {
  return isIP(host) === 0 ? host : "";
}

/** Understands the broker's own errors, which have a condition and a description. */
function reasonOf(error: unknown): Error | undefined {
  if (error === undefined || error === null) return undefined;
  const { condition, description } = error as { condition?: string; description?: string };
  if (condition === undefined) return error instanceof Error ? error : new Error(String(error));
  return new Error(description === undefined ? condition : `${description} (${condition})`);
}

/** Reads the bytes of a message, or its text, as JMS clients send it. */
function messageOf({ message_id, content_type, content_encoding, body }: Amqp10Message): Message {
  const named = {
    id: idText(message_id),
    contentType: content_type ?? undefined,
    contentEncoding: content_encoding ?? undefined,
  };
  const bytes = bytesOf(body);
  if (bytes !== undefined) return { ...named, body: new MessageBody(bytes) };
  const found = new MessageBody(Buffer.from(JSON.stringify(body) ?? ""));
  return { ...named, body: found, fault: "the body is a structure of AMQP: expected bytes or a text" };
}

/** The id may be a text, a number or the bytes of a UUID. */
function idText(id: unknown): string | undefined {
  if (id === undefined || id === null) return undefined;
  return shortIdOf(Buffer.isBuffer(id) ? id.toString("hex") : String(id));
}

function bytesOf(body: unknown): Buffer | undefined {
  if (typeof body === "string") return Buffer.from(body);
  if (Buffer.isBuffer(body)) return body;
  const { typecode, content } = (body ?? {}) as { readonly typecode?: number; readonly content?: unknown };
  if (typecode !== DATA_SECTION) return undefined;
  return Array.isArray(content) ? Buffer.concat(content as Buffer[]) : (content as Buffer);
}

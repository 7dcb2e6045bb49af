/** A test's operations on a queue by AMQP 1.0, for any broker. */
import rhea, { type Connection, type Message } from "rhea";
import { withDeadline } from "../../../src/runtime/clock.ts";

const TIMEOUT_MS = 60_000;
const CONNECT_TIMEOUT_MS = 5_000;
/** Above 2,048 the client loses count of its session. */
const UNSETTLED_MAX = 1_000;

export interface Amqp10Client {
  /** Answers once the broker has accepted a connection. */
  connect(): Promise<void>;
  /** Answers once the broker has accepted all of them. */
  publish(queue: string, messages: readonly Message[]): Promise<void>;
  /** How many the broker would deliver now; they stay there. */
  depth(queue: string): Promise<number>;
}

export interface Amqp10Address {
  readonly port: number;
  readonly username?: string;
  readonly password?: string;
}

export function amqp10Client(address: Amqp10Address): Amqp10Client {
  return {
    connect: () => connect(address),
    publish: (queue, messages) => publish(address, queue, messages),
    depth: (queue) => depth(address, queue),
  };
}

/** `work` fails with the connection. */
async function answered<T>(connection: Connection, work: Promise<T>, timeoutMs = TIMEOUT_MS): Promise<T> {
  const failed = new Promise<never>((_, reject) => {
    for (const event of ["disconnected", "connection_error", "session_error", "sender_error", "receiver_error"])
      connection.on(event, (context) => reject(context.error ?? new Error(event)));
  });
  return await withDeadline(Promise.race([work, failed]), timeoutMs, () => new Error("the broker does not answer"));
}

function open(address: Amqp10Address): Connection {
  return rhea.create_container().connect({ host: "127.0.0.1", username: "anonymous", reconnect: false, ...address });
}

/** An error without a listener would end the test run: a broker may say one to a connection that is idle by then. */
function close(connection: Connection): void {
  connection.removeAllListeners();
  for (const event of ["disconnected", "connection_error"]) connection.on(event, () => {});
  connection.close();
}

async function connect(address: Amqp10Address): Promise<void> {
  const connection = open(address);
  const opened = new Promise<void>((resolve) => connection.once("connection_open", () => resolve()));
  try {
    await answered(connection, opened, CONNECT_TIMEOUT_MS);
  } finally {
    close(connection);
  }
}

async function publish(address: Amqp10Address, queue: string, messages: readonly Message[]): Promise<void> {
  const connection = open(address);
  const sender = connection.open_sender({ target: queue });
  const { promise, resolve } = Promise.withResolvers<void>();
  let [sent, accepted] = [0, 0];
  sender.on("sendable", () => {
    while (sent < messages.length && sender.sendable()) sender.send({ durable: true, ...messages[sent++]! });
  });
  sender.on("accepted", () => {
    accepted += 1;
    if (accepted === messages.length) resolve();
  });
  try {
    await answered(connection, promise);
  } finally {
    close(connection);
  }
}

/** Takes all there are, by as many connections as that needs, and settles none. */
async function depth(address: Amqp10Address, queue: string): Promise<number> {
  const connections: Connection[] = [];
  try {
    for (let sum = 0; ; ) {
      const connection = open(address);
      connections.push(connection);
      const count = await answered(connection, drained(connection, queue));
      if (count === 0) return sum;
      sum += count;
    }
  } finally {
    for (const connection of connections) close(connection);
  }
}

/** A broker drains what it has at hand: only a round that brings nothing says that this is all. */
function drained(connection: Connection, queue: string): Promise<number> {
  const receiver = connection.open_receiver({ source: queue, credit_window: 0, autoaccept: false });
  const { promise, resolve } = Promise.withResolvers<number>();
  let [count, countBefore] = [0, -1];
  const drain = () => {
    if (count === countBefore) return resolve(count);
    countBefore = count;
    receiver.add_credit(UNSETTLED_MAX - count);
    receiver.drain_credit();
  };
  receiver.on("message", () => {
    count += 1;
    // With all credit used there is nothing to drain.
    if (count === UNSETTLED_MAX) resolve(count);
  });
  receiver.on("receiver_drained", drain);
  receiver.on("receiver_open", drain);
  return promise;
}

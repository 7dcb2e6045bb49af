/**
 * Publishes numbered messages by AMQP 1.0, one event each, until the broker has accepted all of them. A separate
 * program: see child-program.ts.
 *
 * Invariant: no number is skipped; unaccepted messages are sent again under the same message id.
 */
import { amqp10Client } from "../../harness/brokers/amqp10-client.ts";
import { runAsChild } from "./child-program.ts";
import type { QueuePublisherResult } from "./queue-publisher.ts";

export interface Amqp10PublisherOptions {
  readonly port: number;
  readonly queue: string;
  readonly messages: number;
  /** The hour of the first event; the others follow a millisecond apart, within the hour. */
  readonly hour: number;
  /** The prefix of users and message ids. */
  readonly prefix: string;
  /** Messages a second; undefined: as many as the broker accepts. */
  readonly ratePerS: number | undefined;
}

const MESSAGES_PER_CONNECTION = 1_000;
const RETRY_MS = 200;
const TIMES = 3_600_000;

function numbered(number: number, { hour, prefix }: Amqp10PublisherOptions) {
  const name = `${prefix}${number}`;
  const kind = number % 2 === 0 ? "click" : "impression";
  const event = { timestamp: hour + (number % TIMES), user: name, event: kind };
  return { message_id: name, content_type: "application/json", body: Buffer.from(JSON.stringify(event)) };
}

await runAsChild<Amqp10PublisherOptions, QueuePublisherResult>(async (options) => {
  const { port, queue, messages, ratePerS } = options;
  const startMs = performance.now();
  const client = amqp10Client({ port });
  let [sendings, connections] = [0, 0];
  for (let from = 0; from < messages; ) {
    const count = Math.min(MESSAGES_PER_CONNECTION, messages - from);
    const some = Array.from({ length: count }, (_, i) => numbered(from + i, options));
    sendings += count;
    connections += 1;
    try {
      await client.publish(queue, some);
      from += count;
    } catch {
      await Bun.sleep(RETRY_MS);
    }
    const dueMs = ratePerS === undefined ? 0 : startMs + (1_000 * from) / ratePerS - performance.now();
    if (dueMs > 0) await Bun.sleep(dueMs);
  }
  return { sendings, connections, seconds: (performance.now() - startMs) / 1_000 };
});

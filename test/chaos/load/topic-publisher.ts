/**
 * Publishes numbered messages to a Kafka topic, one event each, until the broker has confirmed all of them. A separate
 * program: see child-program.ts.
 *
 * Invariant: no number is skipped. An unconfirmed message is sent again, so the topic may hold it twice: under the same
 * id if events have ids, else as another message.
 */
import { Producer } from "@platformatic/kafka";
import { runAsChild } from "./child-program.ts";
import type { QueuePublisherResult } from "./queue-publisher.ts";

export interface TopicPublisherOptions {
  readonly address: string;
  readonly topic: string;
  readonly partitions: number;
  readonly messages: number;
  /** The hour of the first event; the others follow a millisecond apart, within the hour. */
  readonly hour: number;
  /** The prefix of users and ids. */
  readonly prefix: string;
  readonly hasIds: boolean;
  /** Messages a second; undefined: as many as the broker confirms. */
  readonly ratePerS: number | undefined;
}

const MESSAGES_PER_SENDING = 500;
const COMPRESSIONS = ["none", "lz4", "snappy", "zstd", "gzip"] as const;
const RETRY_MS = 200;
const TIMES = 3_600_000;

function eventText(number: number, { hour, prefix, hasIds }: TopicPublisherOptions): Buffer {
  const name = `${prefix}${number}`;
  const kind = number % 2 === 0 ? "click" : "impression";
  const event = { timestamp: hour + (number % TIMES), user: name, event: kind, ...(hasIds && { id: name }) };
  return Buffer.from(JSON.stringify(event));
}

await runAsChild<TopicPublisherOptions, QueuePublisherResult>(async (options) => {
  const { address, topic, partitions, messages, ratePerS } = options;
  const startMs = performance.now();
  const open = () => new Producer({ clientId: "publisher", bootstrapBrokers: [address], retries: 0 });
  let producer = open();
  let connections = 1;
  let sendings = 0;
  for (let from = 0, part = 0; from < messages; part++) {
    const numbers = Array.from({ length: Math.min(MESSAGES_PER_SENDING, messages - from) }, (_, i) => from + i);
    const partition = part % partitions;
    const compression = COMPRESSIONS[part % COMPRESSIONS.length]!;
    sendings += numbers.length;
    try {
      const sent = numbers.map((number) => ({ topic, partition, value: eventText(number, options) }));
      await producer.send({ messages: sent, compression, acks: -1 });
      from += numbers.length;
    } catch {
      await producer.close().catch(() => {});
      await Bun.sleep(RETRY_MS);
      producer = open();
      connections += 1;
    }
    const dueMs = ratePerS === undefined ? 0 : startMs + (1_000 * from) / ratePerS - performance.now();
    if (dueMs > 0) await Bun.sleep(dueMs);
  }
  await producer.close();
  return { sendings, connections, seconds: (performance.now() - startMs) / 1_000 };
});

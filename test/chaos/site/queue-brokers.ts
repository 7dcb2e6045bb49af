/** The brokers that the queue suite restarts, behind one interface. */
import { startActiveMq } from "../../harness/brokers/activemq/activemq.ts";
import { startKafka } from "../../harness/brokers/kafka/kafka.ts";
import { startRabbitMq } from "../../harness/brokers/rabbitmq.ts";
import type { ServerProcess } from "../../harness/servers/server-process.ts";
import type { Amqp10PublisherOptions } from "../load/amqp10-publisher.ts";
import { type ChildProgram, startChild } from "../load/child-program.ts";
import type { QueuePublisherOptions, QueuePublisherResult } from "../load/queue-publisher.ts";
import type { TopicPublisherOptions } from "../load/topic-publisher.ts";
import type { Settings } from "./chaos-site.ts";

export const BROKER_KINDS = ["rabbitmq", "kafka", "activemq"] as const;
export type BrokerKind = (typeof BROKER_KINDS)[number];

export interface Publication {
  readonly messages: number;
  readonly hour: number;
  readonly prefix: string;
  /** False: the broker's place of a message is all that names it. */
  readonly hasIds: boolean;
  readonly ratePerS: number | undefined;
}

export interface QueueBroker {
  readonly server: ServerProcess;
  readonly settings: Settings;
  publish(publication: Publication): ChildProgram<QueuePublisherResult>;
  /** Messages that it would deliver again. */
  left(): Promise<number>;
  /** Messages that it has, whether or not they were consumed; undefined if it forgets those. */
  total(): Promise<number | undefined>;
}

const QUEUE = "events";
const GROUP = "chaos";
const PARTITIONS = 6;
const NEEDS_IDS = "by AMQP, messages without ids count at least once";

export async function startQueueBroker(kind: BrokerKind): Promise<QueueBroker> {
  if (kind === "kafka") return await kafkaBroker();
  return kind === "activemq" ? await activeMqBroker() : await rabbitMqBroker();
}

async function rabbitMqBroker(): Promise<QueueBroker> {
  const server = await startRabbitMq();
  await server.declare(QUEUE);
  return {
    server,
    settings: { BROKER_URL: server.url, BROKER_QUEUE: QUEUE },
    publish: ({ hasIds, ...rest }) => {
      if (!hasIds) throw new Error(NEEDS_IDS);
      const options = { url: server.url, queue: QUEUE, ...rest };
      return startChild<QueuePublisherOptions, QueuePublisherResult>("queue-publisher.ts", options);
    },
    left: () => server.depth(QUEUE),
    total: async () => undefined,
  };
}

async function activeMqBroker(): Promise<QueueBroker> {
  const server = await startActiveMq();
  return {
    server,
    settings: { BROKER_URL: server.url, BROKER_QUEUE: QUEUE },
    publish: ({ hasIds, ...rest }) => {
      if (!hasIds) throw new Error(NEEDS_IDS);
      const options = { port: server.port, queue: QUEUE, ...rest };
      return startChild<Amqp10PublisherOptions, QueuePublisherResult>("amqp10-publisher.ts", options);
    },
    left: () => server.client.depth(QUEUE),
    total: async () => undefined,
  };
}

async function kafkaBroker(): Promise<QueueBroker> {
  const server = await startKafka();
  await server.createTopic(QUEUE, PARTITIONS);
  const total = async () => (await server.ends(QUEUE)).reduce((sum, end) => sum + end, 0);
  return {
    server,
    settings: { BROKER_URL: server.url, BROKER_QUEUE: QUEUE, BROKER_GROUP: GROUP },
    publish: (publication) => {
      const options = { address: server.address, topic: QUEUE, partitions: PARTITIONS, ...publication };
      return startChild<TopicPublisherOptions, QueuePublisherResult>("topic-publisher.ts", options);
    },
    left: async () => {
      const committed = await server.committed(GROUP, QUEUE);
      return (await total()) - committed.reduce((sum, offset) => sum + offset, 0);
    },
    total,
  };
}

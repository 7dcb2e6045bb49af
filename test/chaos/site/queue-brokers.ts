/** The brokers that the suite of queues restarts, in the same words. */
import { startKafka } from "../../harness/brokers/kafka/kafka.ts";
import { startRabbitMq } from "../../harness/brokers/rabbitmq.ts";
import type { ServerProcess } from "../../harness/servers/server-process.ts";
import { type ChildProgram, startChild } from "../load/child-program.ts";
import type { QueuePublisherOptions, QueuePublisherResult } from "../load/queue-publisher.ts";
import type { TopicPublisherOptions } from "../load/topic-publisher.ts";
import type { Settings } from "./chaos-site.ts";

export type BrokerKind = "rabbitmq" | "kafka";

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

export async function startQueueBroker(kind: BrokerKind): Promise<QueueBroker> {
  return kind === "kafka" ? await kafkaBroker() : await rabbitMqBroker();
}

async function rabbitMqBroker(): Promise<QueueBroker> {
  const server = await startRabbitMq();
  await server.declare(QUEUE);
  return {
    server,
    settings: { BROKER_URL: server.url, BROKER_QUEUE: QUEUE },
    publish: ({ hasIds, ...rest }) => {
      if (!hasIds) throw new Error("without ids RabbitMQ counts at least once");
      const options = { url: server.url, queue: QUEUE, ...rest };
      return startChild<QueuePublisherOptions, QueuePublisherResult>("queue-publisher.ts", options);
    },
    left: () => server.depth(QUEUE),
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

/**
 * A real Kafka, one process as broker and controller, with its own ports and folder, and a test's operations on its
 * topics. One listener is plain; on request a second one takes only TLS and passwords.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Admin, type CompressionAlgorithmValue, Consumer, type MessageToProduce, Producer } from "@platformatic/kafka";
import { run } from "../../debian/run.ts";
import { binary } from "../../servers/binaries.ts";
import type { Certificates } from "../../servers/certificates.ts";
import { freePort } from "../../servers/ports.ts";
import { type ServerPlace, ServerProcess, type ServerProgram, startProgram } from "../../servers/server-process.ts";
import { jarFolder } from "../jars.ts";

export interface KafkaMessage {
  readonly value: string | Buffer | null;
  readonly partition?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Takes TLS only, and this user's password in each of the ways that Kafka has. */
export interface SecureListener {
  readonly certificates: Certificates;
  readonly user: { readonly name: string; readonly password: string };
}

const START_TIMEOUT_MS = 170_000;
const CLUSTER_ID_BYTES = 16;
/** Small, and quick to start rather than fast later. */
const JVM = ["-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
const HOST = "127.0.0.1";
const LOGGING = [
  "rootLogger.level=WARN",
  "rootLogger.appenderRef.stdout.ref=STDOUT",
  "appender.stdout.type=Console",
  "appender.stdout.name=STDOUT",
  "appender.stdout.layout.type=PatternLayout",
];

export class KafkaServer extends ServerProcess {
  readonly securePort: number;

  constructor(program: ServerProgram, port: number, securePort: number) {
    super(program, port);
    this.securePort = securePort;
  }

  get url(): string {
    return `kafka://${this.address}`;
  }

  get address(): string {
    return `${HOST}:${this.port}`;
  }

  async createTopic(topic: string, partitions: number): Promise<void> {
    await this.#administer((admin) => admin.createTopics({ topics: [topic], partitions, replicas: 1 }));
  }

  async deleteTopic(topic: string): Promise<void> {
    await this.#administer((admin) => admin.deleteTopics({ topics: [topic] }));
  }

  async addPartitions(topic: string, count: number): Promise<void> {
    await this.#administer((admin) => admin.createPartitions({ topics: [{ name: topic, count }] }));
  }

  /** Committed by the group, by partition; -1 where nothing is. */
  async committed(group: string, topic: string): Promise<number[]> {
    const groups = await this.#administer((admin) => admin.listConsumerGroupOffsets({ groups: [group] }));
    const partitions = groups.flatMap(({ topics }) => topics).find(({ name }) => name === topic)?.partitions ?? [];
    const offsets: number[] = [];
    for (const { partitionIndex, committedOffset } of partitions) offsets[partitionIndex] = Number(committedOffset);
    return offsets;
  }

  /** Where the next message of each partition goes. */
  async ends(topic: string): Promise<number[]> {
    const consumer = new Consumer({ clientId: "test", groupId: "test", bootstrapBrokers: [this.address] });
    try {
      const offsets = await consumer.listOffsets({ topics: [topic] });
      return offsets.get(topic)!.map(Number);
    } finally {
      await consumer.close();
    }
  }

  /** Answers once the broker has all of them. Without a partition they go to all in turn. */
  async publish(
    topic: string,
    messages: readonly KafkaMessage[],
    compression: CompressionAlgorithmValue = "none",
  ): Promise<void> {
    const producer = new Producer({ clientId: "test", bootstrapBrokers: [this.address] });
    try {
      const bytes = messages.map((message) => toProduce(topic, message));
      for (let i = 0; i < bytes.length; i += 1_000)
        await producer.send({ messages: bytes.slice(i, i + 1_000), compression, acks: -1 });
    } finally {
      await producer.close();
    }
  }

  async publishInTransaction(topic: string, values: readonly string[], end: "commit" | "abort"): Promise<void> {
    const settings = { clientId: "test", bootstrapBrokers: [this.address], idempotent: true };
    const producer = new Producer({
      ...settings,
      transactionalId: `test-${end}`,
      retries: 30,
      retryDelay: 200,
    });
    try {
      const transaction = await producer.beginTransaction();
      await transaction.send({ messages: values.map((value) => toProduce(topic, { value })) });
      await transaction[end]();
    } finally {
      await producer.close();
    }
  }

  /** Publishes with Kafka's own console producer, whose libraries compress in their own way. */
  async publishByJava(topic: string, lines: readonly string[], compression: string): Promise<void> {
    const producer = ["org.apache.kafka.tools.ConsoleProducer", "--bootstrap-server", this.address];
    await pipe([...java(), ...producer, "--topic", topic, "--compression-codec", compression], lines);
  }

  /** Publishes with librdkafka. */
  async publishByKcat(topic: string, lines: readonly string[], compression: string): Promise<void> {
    const codec = compression === "none" ? [] : ["-z", compression];
    await pipe([binary("kcat"), "-P", "-b", this.address, "-t", topic, ...codec], lines);
  }

  async #administer<T>(work: (admin: Admin) => Promise<T>): Promise<T> {
    const admin = new Admin({
      clientId: "test",
      bootstrapBrokers: [this.address],
      retries: 30,
      retryDelay: 200,
    });
    try {
      return await work(admin);
    } finally {
      await admin.close();
    }
  }
}

function toProduce(topic: string, { value, partition, headers = {} }: KafkaMessage) {
  const inBytes = Object.entries(headers).map(([name, text]) => [Buffer.from(name), Buffer.from(text)] as const);
  return {
    topic,
    value: value === null ? (null as never) : Buffer.from(value),
    headers: new Map(inBytes),
    ...(partition !== undefined && { partition }),
  } satisfies MessageToProduce<Buffer, Buffer, Buffer, Buffer>;
}

async function pipe(command: readonly string[], lines: readonly string[]): Promise<void> {
  const input = Buffer.from(lines.map((line) => `${line}\n`).join(""));
  const child = Bun.spawn([...command], { stdin: input, stdout: "pipe", stderr: "pipe" });
  const [errors, code] = await Promise.all([child.stderr.text(), child.exited]);
  if (code !== 0) throw new Error(`'${command.join(" ")}' failed (${code}):\n${errors}`);
}

export async function startKafka(secure?: SecureListener): Promise<KafkaServer> {
  const [controllerPort, securePort] = [await freePort(), await freePort()];
  const program = kafkaProgram(controllerPort, securePort, secure);
  return await startProgram((port) => new KafkaServer(program, port, securePort));
}

function java(): string[] {
  return [binary("java"), ...JVM, "-cp", join(jarFolder("kafka"), "*")];
}

/** 16 bytes as base64url, which never begin with a "-": Kafka's tools take such an id for an option (one in 64). */
function newClusterId(): string {
  const bytes = crypto.getRandomValues(Buffer.alloc(CLUSTER_ID_BYTES));
  bytes[0]! &= 0x7f;
  return bytes.toString("base64url");
}

function kafkaProgram(controllerPort: number, securePort: number, secure: SecureListener | undefined): ServerProgram {
  const clusterId = newClusterId();
  return {
    name: "kafka",
    startTimeoutMs: START_TIMEOUT_MS,
    prepare: async (place) => {
      const listeners = secure === undefined ? [] : [`SASL_SSL://${HOST}:${securePort}`];
      const settings = settingsOf(place, controllerPort, listeners);
      if (secure !== undefined) settings.push(...secureSettings(secure));
      writeFileSync(settingsFile(place), settings.join("\n"));
      writeFileSync(join(place.folder, "log4j2.properties"), LOGGING.join("\n"));
      const format = ["kafka.tools.StorageTool", "format", "-t", clusterId, "-c", settingsFile(place)];
      await run([...java(), ...format, ...(secure === undefined ? [] : scramUsers(secure))]);
    },
    command: (place) => {
      const logging = `-Dlog4j2.configurationFile=${join(place.folder, "log4j2.properties")}`;
      const [program, ...args] = java();
      return [program!, logging, ...args, "kafka.Kafka", settingsFile(place)];
    },
    isReady: async ({ port }) => {
      const admin = new Admin({ clientId: "test", bootstrapBrokers: [`${HOST}:${port}`], retries: 0 });
      try {
        const { id, brokers } = await admin.metadata({ topics: [] });
        return id === clusterId && brokers.size === 1;
      } finally {
        await admin.close();
      }
    },
  };
}

function settingsFile({ folder }: ServerPlace): string {
  return join(folder, "server.properties");
}

function settingsOf({ port, dataDir }: ServerPlace, controllerPort: number, listeners: readonly string[]): string[] {
  const all = [`PLAINTEXT://${HOST}:${port}`, ...listeners];
  return [
    "process.roles=broker,controller",
    "node.id=1",
    `controller.quorum.voters=1@${HOST}:${controllerPort}`,
    "controller.listener.names=CONTROLLER",
    `listeners=${[...all, `CONTROLLER://${HOST}:${controllerPort}`].join(",")}`,
    `advertised.listeners=${all.join(",")}`,
    "inter.broker.listener.name=PLAINTEXT",
    "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL",
    `log.dirs=${dataDir}`,
    "offsets.topic.replication.factor=1",
    "offsets.topic.num.partitions=1",
    "transaction.state.log.replication.factor=1",
    "transaction.state.log.min.isr=1",
    "transaction.state.log.num.partitions=1",
    "share.coordinator.state.topic.replication.factor=1",
    "share.coordinator.state.topic.min.isr=1",
    "auto.create.topics.enable=false",
    // A group is complete as soon as its first member is there.
    "group.initial.rebalance.delay.ms=0",
  ];
}

function secureSettings({ certificates, user }: SecureListener): string[] {
  const inOneLine = (file: string) => readFileSync(file, "utf8").trim().replaceAll("\n", "\\n");
  const [mechanisms, login] = ["SCRAM-SHA-256,SCRAM-SHA-512", "org.apache.kafka.common.security"];
  const scram = mechanisms
    .toLowerCase()
    .split(",")
    .map((mechanism) => {
      return `listener.name.sasl_ssl.${mechanism}.sasl.jaas.config=${login}.scram.ScramLoginModule required;`;
    });
  return [
    `sasl.enabled.mechanisms=PLAIN,${mechanisms}`,
    ...scram,
    `listener.name.sasl_ssl.plain.sasl.jaas.config=${login}.plain.PlainLoginModule required ` +
      `user_${user.name}="${user.password}";`,
    "ssl.keystore.type=PEM",
    `ssl.keystore.certificate.chain=${inOneLine(certificates.certFile)}`,
    `ssl.keystore.key=${inOneLine(certificates.keyFile)}`,
  ];
}

function scramUsers({ user: { name, password } }: SecureListener): string[] {
  const mechanisms = ["SCRAM-SHA-256", "SCRAM-SHA-512"];
  return mechanisms.flatMap((mechanism) => ["--add-scram", `${mechanism}=[name=${name},password=${password}]`]);
}

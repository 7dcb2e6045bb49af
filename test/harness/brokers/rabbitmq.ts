/**
 * A real RabbitMQ with its own ports and folder and its own epmd (Erlang's register of nodes, which a node would
 * otherwise start and leave behind), and a test's operations on its queues. With certificates also by TLS.
 */
import { existsSync, writeFileSync } from "node:fs";
import { connect as connectSocket } from "node:net";
import { dirname, join } from "node:path";
import { type ChannelModel, type ConfirmChannel, connect, type Options } from "amqplib";
import { binary } from "../servers/binaries.ts";
import type { Certificates } from "../servers/certificates.ts";
import { freePort } from "../servers/ports.ts";
import { type ServerPlace, ServerProcess, type ServerProgram, startProgram } from "../servers/server-process.ts";

const HOST = "127.0.0.1";
const START_TIMEOUT_MS = 170_000;
const CONFIG = ["loopback_users.guest = true", "disk_free_limit.absolute = 50MB"];
/** AMQP 1.0, on the same port. */
const PLUGINS = "[rabbitmq_amqp1_0].\n";
/** Debian's program of that name changes users, and writes its log elsewhere. */
const DEBIAN_PROGRAM = "/usr/lib/rabbitmq/bin/rabbitmq-server";
/** One scheduler: it shares its cores with all that is tested. And no port for other nodes but on the loopback. */
const ERLANG_ARGS = "+S 1:1 -kernel inet_dist_use_interface {127,0,0,1}";

export interface OutgoingMessage {
  readonly body: string | Buffer;
  readonly options?: Options.Publish;
}

export class RabbitMqServer extends ServerProcess {
  readonly securePort: number;
  readonly #epmd: ServerProcess;

  constructor(program: ServerProgram, port: number, securePort: number, epmd: ServerProcess) {
    super(program, port);
    this.securePort = securePort;
    this.#epmd = epmd;
  }

  get url(): string {
    return urlOf(this.port);
  }

  override async stop(): Promise<void> {
    await super.stop();
    await this.#epmd.stop();
  }

  async declare(queue: string, options: Options.AssertQueue = {}): Promise<void> {
    await this.#use((channel) => channel.assertQueue(queue, { durable: true, ...options }));
  }

  async delete(queue: string): Promise<void> {
    await this.#use((channel) => channel.deleteQueue(queue));
  }

  /** Answers once the broker has all of them, on its disk. */
  async publish(queue: string, messages: readonly OutgoingMessage[]): Promise<void> {
    await this.#use(async (channel) => {
      for (const { body, options } of messages) {
        channel.sendToQueue(queue, Buffer.from(body), { persistent: true, ...options });
      }
      await channel.waitForConfirms();
    });
  }

  /** Messages that nobody has been given: those that are given and not acknowledged are not among them. */
  async depth(queue: string): Promise<number> {
    return (await this.#use((channel) => channel.checkQueue(queue))).messageCount;
  }

  async consumers(queue: string): Promise<number> {
    return (await this.#use((channel) => channel.checkQueue(queue))).consumerCount;
  }

  /** Takes all that is there now. */
  async drain(queue: string): Promise<string[]> {
    return await this.#use(async (channel) => {
      const bodies: string[] = [];
      for (;;) {
        const message = await channel.get(queue, { noAck: true });
        if (message === false) return bodies;
        bodies.push(message.content.toString());
      }
    });
  }

  async #use<T>(work: (channel: ConfirmChannel) => Promise<T>): Promise<T> {
    const model = await open(this.url);
    try {
      return await work(await model.createConfirmChannel());
    } finally {
      await model.close().catch(() => {});
    }
  }
}

function urlOf(port: number): string {
  return `amqp://guest:guest@${HOST}:${port}`;
}

async function open(url: string): Promise<ChannelModel> {
  const model = await connect(url, { timeout: 10_000 });
  // What goes wrong is told by the call that it goes wrong for.
  model.on("error", () => {});
  return model;
}

export async function startRabbitMq(certificates?: Certificates): Promise<RabbitMqServer> {
  const epmd = await startProgram((port) => new ServerProcess(epmdProgram(), port));
  try {
    const [distributionPort, securePort] = [await freePort(), await freePort()];
    const tls = certificates === undefined ? [] : tlsSettings(certificates, securePort);
    const program = rabbitMqProgram(epmd.port, distributionPort, tls);
    return await startProgram((port) => new RabbitMqServer(program, port, securePort, epmd));
  } catch (error) {
    await epmd.stop();
    throw error;
  }
}

function epmdProgram(): ServerProgram {
  return {
    name: "epmd",
    startTimeoutMs: 30_000,
    prepare: async () => {},
    command: ({ port }) => [binary("epmd"), "-port", String(port), "-address", HOST],
    isReady: ({ port }) => {
      return new Promise((resolve, reject) => {
        const socket = connectSocket(port, HOST, () => {
          socket.destroy();
          resolve(true);
        });
        socket.once("error", reject);
      });
    },
  };
}

function tlsSettings({ certFile, keyFile, caFile }: Certificates, port: number): string[] {
  return [
    `listeners.ssl.1 = ${HOST}:${port}`,
    `ssl_options.certfile = ${certFile}`,
    `ssl_options.keyfile = ${keyFile}`,
    `ssl_options.cacertfile = ${caFile}`,
  ];
}

function rabbitMqProgram(epmdPort: number, distributionPort: number, tls: readonly string[]): ServerProgram {
  return {
    name: "rabbitmq",
    startTimeoutMs: START_TIMEOUT_MS,
    prepare: async ({ folder }) => {
      writeFileSync(join(folder, "rabbitmq.conf"), [...CONFIG, ...tls, ""].join("\n"));
      writeFileSync(join(folder, "enabled_plugins"), PLUGINS);
    },
    command: (place) => {
      const variables = {
        ...variablesOf(place),
        ERL_EPMD_PORT: epmdPort,
        RABBITMQ_DIST_PORT: distributionPort,
      };
      const settings = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
      const program = existsSync(DEBIAN_PROGRAM) ? DEBIAN_PROGRAM : binary("rabbitmq-server");
      return ["env", "-i", ...settings, program];
    },
    isReady: async ({ port }) => {
      const model = await open(urlOf(port));
      const { cluster_name: cluster = "" } = model.connection.serverProperties;
      await model.close();
      return cluster.startsWith(nodeName(port).split("@")[0]!);
    },
  };
}

function nodeName(port: number): string {
  return `hourglass-${port}@localhost`;
}

function variablesOf({ port, dataDir, folder }: ServerPlace) {
  return {
    PATH: [dirname(binary("erl")), process.env["PATH"] ?? ""].join(":"),
    LANG: "C.UTF-8",
    // Its cookie is there.
    HOME: folder,
    RABBITMQ_NODENAME: nodeName(port),
    RABBITMQ_NODE_IP_ADDRESS: HOST,
    RABBITMQ_NODE_PORT: port,
    RABBITMQ_MNESIA_BASE: dataDir,
    RABBITMQ_LOG_BASE: folder,
    RABBITMQ_LOGS: "-",
    RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, "enabled_plugins"),
    RABBITMQ_CONFIG_FILE: join(folder, "rabbitmq"),
    RABBITMQ_GENERATED_CONFIG_DIR: join(folder, "generated"),
    RABBITMQ_CONF_ENV_FILE: "/dev/null",
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: ERLANG_ARGS,
    // Without its shell, so that the process that is started is the broker itself, and is what a signal reaches.
    RABBITMQ_ALLOW_INPUT: "1",
    RABBITMQ_SERVER_START_ARGS: "-noinput",
  };
}

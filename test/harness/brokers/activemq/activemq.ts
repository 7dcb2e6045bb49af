/** A real ActiveMQ (Classic) that speaks AMQP 1.0, on a port and in a folder of its own. */
import { join } from "node:path";
import rhea from "rhea";
import { binary } from "../../servers/binaries.ts";
import { type ServerPlace, ServerProcess, type ServerProgram, startProgram } from "../../servers/server-process.ts";
import { type Amqp10Client, amqp10Client } from "../amqp10-client.ts";
import { jarFolder } from "../jars.ts";

const HOST = "127.0.0.1";
const START_TIMEOUT_MS = 170_000;
const ANSWER_TIMEOUT_MS = 5_000;
/** Small, and quick to start rather than fast later. */
const JVM = ["-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

export class ActiveMqServer extends ServerProcess {
  get url(): string {
    return `amqp10://${HOST}:${this.port}`;
  }

  get client(): Amqp10Client {
    return amqp10Client({ port: this.port });
  }
}

export async function startActiveMq(): Promise<ActiveMqServer> {
  return await startProgram((port) => new ActiveMqServer(activeMqProgram(), port));
}

function activeMqProgram(): ServerProgram {
  return {
    name: "activemq",
    startTimeoutMs: START_TIMEOUT_MS,
    prepare: async () => {},
    command: (place) => [
      ...[binary("java"), ...JVM, ...foldersOf(place), "-cp", join(jarFolder("activemq"), "*")],
      ...["org.apache.activemq.console.Main", "start", uriOf(place)],
    ],
    isReady: ({ port }) => answers(port),
  };
}

function foldersOf({ folder, dataDir }: ServerPlace): string[] {
  return [`-Dactivemq.home=${folder}`, `-Dactivemq.base=${folder}`, `-Dactivemq.data=${dataDir}`];
}

/** Queues come into being when they are used; they and their messages are on the disk. */
function uriOf({ port, dataDir }: ServerPlace): string {
  return `broker:(amqp://${HOST}:${port})/hourglass?persistent=true&useJmx=false&dataDirectory=${dataDir}`;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const connection = rhea.create_container().connect({ host: HOST, port, username: "anonymous", reconnect: false });
    const timer = setTimeout(() => reject(new Error("no answer")), ANSWER_TIMEOUT_MS);
    connection.once("disconnected", ({ error }) => {
      clearTimeout(timer);
      reject(error ?? new Error("disconnected"));
    });
    connection.once("connection_open", () => {
      clearTimeout(timer);
      resolve(true);
      connection.close();
    });
  });
}

/**
 * A real ActiveMQ (Classic) that speaks AMQP 1.0, with its own port and folder; with certificates, also by TLS on
 * another port.
 */
import { join } from "node:path";
import { run } from "../../debian/run.ts";
import { binary } from "../../servers/binaries.ts";
import type { Certificates } from "../../servers/certificates.ts";
import { freePort } from "../../servers/ports.ts";
import { type ServerPlace, ServerProcess, type ServerProgram, startProgram } from "../../servers/server-process.ts";
import { type Amqp10Client, amqp10Client } from "../amqp10-client.ts";
import { jarFolder } from "../jars.ts";

const HOST = "127.0.0.1";
const START_TIMEOUT_MS = 170_000;
/** Small, and quick to start rather than fast later. */
const JVM = ["-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
const KEY_STORE_PASSWORD = "of the key store";

export class ActiveMqServer extends ServerProcess {
  readonly securePort: number;

  constructor(program: ServerProgram, port: number, securePort: number) {
    super(program, port);
    this.securePort = securePort;
  }

  get url(): string {
    return `amqp10://${HOST}:${this.port}`;
  }

  get client(): Amqp10Client {
    return amqp10Client({ port: this.port });
  }
}

export async function startActiveMq(certificates?: Certificates): Promise<ActiveMqServer> {
  const securePort = await freePort();
  const program = activeMqProgram(securePort, certificates);
  return await startProgram((port) => new ActiveMqServer(program, port, securePort));
}

function activeMqProgram(securePort: number, certificates: Certificates | undefined): ServerProgram {
  const secureUris = certificates === undefined ? [] : [`amqp+ssl://${HOST}:${securePort}`];
  return {
    name: "activemq",
    startTimeoutMs: START_TIMEOUT_MS,
    prepare: async ({ folder }) => {
      if (certificates !== undefined) await makeKeyStore(keyStoreIn(folder), certificates);
    },
    command: (place) => [
      ...[binary("java"), ...JVM, ...foldersOf(place), "-cp", join(jarFolder("activemq"), "*")],
      ...["org.apache.activemq.console.Main", "start", uriOf(place, secureUris)],
    ],
    isReady: async ({ port }) => {
      await amqp10Client({ port }).connect();
      return true;
    },
  };
}

function foldersOf({ folder, dataDir }: ServerPlace): string[] {
  const folders = { home: folder, base: folder, data: dataDir };
  return [
    ...Object.entries(folders).map(([name, path]) => `-Dactivemq.${name}=${path}`),
    `-Djavax.net.ssl.keyStore=${keyStoreIn(folder)}`,
    `-Djavax.net.ssl.keyStorePassword=${KEY_STORE_PASSWORD}`,
  ];
}

function keyStoreIn(folder: string): string {
  return join(folder, "keys.p12");
}

/** Java reads no PEM files. */
async function makeKeyStore(path: string, { certFile, keyFile }: Certificates): Promise<void> {
  const from = ["-in", certFile, "-inkey", keyFile];
  await run(["openssl", "pkcs12", "-export", ...from, "-out", path, "-passout", `pass:${KEY_STORE_PASSWORD}`]);
}

/** Queues come into being when they are used; they and their messages are on the disk. */
function uriOf({ port, dataDir }: ServerPlace, secureUris: readonly string[]): string {
  const uris = [`amqp://${HOST}:${port}`, ...secureUris];
  return `broker:(${uris.join(",")})/hourglass?persistent=true&useJmx=false&dataDirectory=${dataDir}`;
}

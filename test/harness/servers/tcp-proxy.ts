/**
 * A loopback proxy in front of a server that imitates a network: connections cut at a chosen byte, answers that never
 * come, delay, a port where nobody listens.
 *
 * Invariant: what one end of a connection receives is always a prefix of what the other sent, as with any TCP
 * connection. So once a chunk is dropped, everything after it in that direction is dropped too, including the news that
 * the sender closed: to the receiver it has fallen silent, until the connection is cut.
 */
import { connect, createServer, type Server, type Socket } from "node:net";
import { freePort } from "./ports.ts";

const HOST = "127.0.0.1";

export interface ProxiedConnection {
  readonly client: Socket;
  readonly server: Socket;
  /** Closes it at both ends; what is in flight is lost. */
  cut(): void;
}

/** Sees each chunk as it arrives; false drops it. A hook that cuts the connection answers false. */
export type ChunkHook = (chunk: Buffer, connection: ProxiedConnection) => boolean;

/** `targetPort` of this machine need not be open yet. */
export async function startProxy(targetPort: number): Promise<TcpProxy> {
  const proxy = new TcpProxy(await freePort(), targetPort);
  await proxy.accept();
  return proxy;
}

export class TcpProxy {
  readonly port: number;
  /** From client to server. */
  onUpstream: ChunkHook | undefined;
  /** From server to client. */
  onDownstream: ChunkHook | undefined;
  /** How long each chunk is under way, in either direction. Holds for the chunks that arrive from now on. */
  delayMs = 0;
  readonly #targetPort: number;
  readonly #connections = new Set<ProxiedConnection>();
  #listener: Server | undefined;

  constructor(port: number, targetPort: number) {
    this.port = port;
    this.#targetPort = targetPort;
  }

  get connectionCount(): number {
    return this.#connections.size;
  }

  /** Requests go through and their answers do not, on every connection, until `onDownstream` is set anew. */
  dropAnswers(): void {
    this.onDownstream = () => false;
  }

  /** Takes connections (again), on the same port. */
  accept(): Promise<void> {
    if (this.#listener !== undefined) return Promise.resolve();
    const listener = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#relay(client));
    this.#listener = listener;
    return new Promise((resolve, reject) => {
      listener.once("error", reject);
      listener.listen(this.port, HOST, () => resolve());
    });
  }

  /** New connections are refused from now on; those that there are stay. */
  refuse(): void {
    this.#listener?.close();
    this.#listener = undefined;
  }

  cutAll(): void {
    for (const connection of this.#connections) connection.cut();
  }

  async close(): Promise<void> {
    const listener = this.#listener;
    this.#listener = undefined;
    const closed = new Promise<void>((resolve) => {
      if (listener === undefined) resolve();
      else listener.close(() => resolve());
    });
    this.cutAll();
    await closed;
  }

  #relay(client: Socket): void {
    const server = connect({ host: HOST, port: this.#targetPort, allowHalfOpen: true, noDelay: true });
    const connection: ProxiedConnection = {
      client,
      server,
      cut: () => {
        this.#connections.delete(connection);
        client.destroy();
        server.destroy();
      },
    };
    this.#connections.add(connection);
    this.#pass(client, server, (chunk) => this.onUpstream?.(chunk, connection) ?? true);
    this.#pass(server, client, (chunk) => this.onDownstream?.(chunk, connection) ?? true);
    const forgetWhenOver = () => {
      if (client.destroyed && server.destroyed) this.#connections.delete(connection);
    };
    client.on("close", forgetWhenOver);
    server.on("close", forgetWhenOver);
  }

  #pass(from: Socket, to: Socket, isLetThrough: (chunk: Buffer) => boolean): void {
    let isSilent = false;
    let lastDelivery = Promise.resolve();
    // One after the other, so that a delay which was shortened lets no chunk overtake another.
    const deliver = (effect: () => void) => {
      const travel = this.delayMs === 0 ? undefined : Bun.sleep(this.delayMs);
      lastDelivery = Promise.all([lastDelivery, travel]).then(effect);
    };
    const deliverUnlessSilent = (effect: () => void) => {
      if (!isSilent) deliver(effect);
    };
    from.on("data", (chunk: Buffer) => {
      isSilent ||= !isLetThrough(chunk);
      deliverUnlessSilent(() => writeWithBackPressure(from, to, chunk));
    });
    from.on("end", () => deliverUnlessSilent(() => to.end()));
    from.on("error", () => deliverUnlessSilent(() => to.destroy()));
  }
}

/** A receiver that reads nothing has to hold up the sender, not fill this process. */
function writeWithBackPressure(from: Socket, to: Socket, chunk: Buffer): void {
  if (to.destroyed || to.write(chunk) || from.isPaused()) return;
  from.pause();
  to.once("drain", () => from.resume());
}

/** True for a query to MySQL. A packet: 3 bytes of length, 1 of sequence, 1 of command (3: a query), its text. */
export const isStatement = (chunk: Buffer) => chunk[4] === 3;
/** MySQL, unlike MariaDB, takes attributes before the text: their count, 0, in 1 set. */
const COMMITS = [Buffer.from("COMMIT"), Buffer.from([0, 1, ...Buffer.from("COMMIT")])];

export const isCommit = (chunk: Buffer) => isStatement(chunk) && COMMITS.some((text) => text.equals(chunk.subarray(5)));

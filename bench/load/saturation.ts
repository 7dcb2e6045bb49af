/**
 * As many requests as the server takes: each connection sends its next one once it has its answer.
 * Invariant: one request is in flight per connection; a connection that is lost is a failure, and sends no more.
 */
import { loadRequests, type Requests } from "./requests.ts";
import { ResponseReader } from "./response-reader.ts";

export interface SaturationJob {
  readonly port: number;
  readonly requestsPath: string;
  readonly connections: number;
  readonly durationMs: number;
}

export interface SaturationResult {
  /** Answered with success. */
  readonly answered: number;
  /** Answered with anything else, or lost. */
  readonly failed: number;
  readonly durationMs: number;
}

export type SaturationDriver = "wrk" | "built-in";

type Socket = Bun.Socket<ResponseReader>;

export async function runSaturation(job: SaturationJob): Promise<SaturationResult> {
  const run = new SaturationRun(loadRequests(job.requestsPath, job.port));
  const sockets = await Promise.all(Array.from({ length: job.connections }, () => run.connect(job.port)));
  const startMs = performance.now();
  for (const socket of sockets) run.send(socket);
  await Promise.race([run.failed, Bun.sleep(job.durationMs)]);
  run.isOver = true;
  for (const socket of sockets) socket.terminate();
  return { ...run.counts, durationMs: performance.now() - startMs };
}

class SaturationRun {
  readonly counts = { answered: 0, failed: 0 };
  readonly #requests: Requests;
  readonly #failure = Promise.withResolvers<never>();
  #next = 0;
  isOver = false;

  constructor(requests: Requests) {
    this.#requests = requests;
  }

  /** Rejects if the server answers something that is no response. */
  get failed(): Promise<never> {
    return this.#failure.promise;
  }

  connect(port: number): Promise<Socket> {
    return Bun.connect<ResponseReader>({
      hostname: "127.0.0.1",
      port,
      data: new ResponseReader(),
      socket: {
        open: (socket) => void socket.setNoDelay(true),
        data: (socket, chunk) => this.#received(socket, chunk),
        close: () => {
          if (!this.isOver) this.counts.failed += 1;
        },
        error: () => {},
      },
    });
  }

  send(socket: Socket): void {
    const { bytes, starts, count } = this.#requests;
    const which = this.#next++ % count;
    socket.write(bytes, starts[which]!, starts[which + 1]! - starts[which]!);
  }

  #received(socket: Socket, chunk: Buffer): void {
    if (this.isOver) return;
    try {
      const status = socket.data.push(chunk);
      if (status === undefined) return;
      if (status >= 200 && status < 300) this.counts.answered += 1;
      else this.counts.failed += 1;
      this.send(socket);
    } catch (error) {
      this.#failure.reject(error);
    }
  }
}

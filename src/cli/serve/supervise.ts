/**
 * Runs several processes on one port (SO_REUSEPORT); the kernel distributes connections among them. A worker that dies
 * is replaced after a pause, while the others adopt its journal.
 *
 * Invariant: this process ends only after all its workers.
 */
import { backoffMs } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";
import { MetricsExchange } from "./worker-channel.ts";

export const WORKER_VARIABLE = "HOURGLASS_WORKER";
/** The process id that a worker's parent has while the supervisor lives. */
export const SUPERVISOR_VARIABLE = "HOURGLASS_SUPERVISOR_PID";

const RESTART_FIRST_MS = 100;
const RESTART_MAX_MS = 10_000;
/** A worker that lived this long did not fail at its start. */
const HEALTHY_MS = 30_000;

interface SupervisorOptions {
  readonly workers: number;
  readonly log: Log;
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #children = new Map<number, Bun.Subprocess>();
  readonly #exchange = new MetricsExchange(() => this.#children);
  readonly #stopping = Promise.withResolvers<void>();
  #isStopping = false;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** Returns the exit code once all workers have ended, after stop() or because none can start. */
  async run(): Promise<number> {
    const { workers } = this.#options;
    const codes = await Promise.all(Array.from({ length: workers }, (_, slot) => this.#keep(slot)));
    return Math.max(...codes);
  }

  stop(signal: NodeJS.Signals): void {
    this.#isStopping = true;
    this.#stopping.resolve();
    for (const child of this.#children.values()) child.kill(signal);
  }

  /** Restarts a worker each time it ends. Returns the last exit code. */
  async #keep(slot: number): Promise<number> {
    const { log } = this.#options;
    for (let failures = 0; ; ) {
      const startedMs = performance.now();
      const code = await this.#runWorker(slot);
      // Code 2: its settings are wrong, as the next worker's would be.
      if (this.#isStopping || code === 2) return code;
      failures = performance.now() - startedMs > HEALTHY_MS ? 0 : failures + 1;
      const pauseMs = backoffMs(failures, RESTART_FIRST_MS, RESTART_MAX_MS, Math.random);
      log.error({ worker: slot, code, pauseMs: Math.round(pauseMs) }, "a worker ended, starting another");
      await this.#pause(pauseMs);
      if (this.#isStopping) return code;
    }
  }

  async #runWorker(slot: number): Promise<number> {
    const { command, environment } = this.#options;
    const child = Bun.spawn([...command], {
      env: { ...environment, [WORKER_VARIABLE]: String(slot), [SUPERVISOR_VARIABLE]: String(process.pid) },
      stdio: ["ignore", "inherit", "inherit"],
      ipc: (message) => this.#exchange.take(slot, message),
    });
    this.#children.set(slot, child);
    const code = await child.exited;
    this.#children.delete(slot);
    // The signal arrived before the worker had a handler.
    return this.#isStopping && child.signalCode !== null ? 0 : code;
  }

  #pause(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    return Promise.race([promise, this.#stopping.promise]).finally(() => clearTimeout(timer));
  }
}

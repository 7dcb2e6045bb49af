/**
 * Puts load on a server, from other processes.
 * Invariant: one job is under way at a time; a job that does not end in time is an error, and ends nothing
 * else.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MEMORY_SETTINGS } from "../../src/cli/serve/allocator.ts";
import { withDeadline } from "../../src/runtime/deadline.ts";
import type { BatchJob, BatchLoadResult } from "./batch-load.ts";
import type { ConstantRateJob, ConstantRateResult } from "./constant-rate.ts";
import type { SaturationDriver, SaturationJob, SaturationResult } from "./saturation.ts";
import { batchBodies, type Mix, type Population, requestLines, timeWithRoom } from "./workload.ts";
import { runWrk } from "./wrk-load.ts";

export type Job =
  | ({ readonly kind: "saturation" } & SaturationJob)
  | ({ readonly kind: "constant rate" } & ConstantRateJob)
  | ({ readonly kind: "batches" } & BatchJob);

export type Report = { readonly isStarted: true } | { readonly result: unknown } | { readonly error: string };

export interface Target {
  readonly port: number;
  readonly mix: Mix;
  readonly population: Population;
  /** The same seed, the same requests. */
  readonly seed: number;
  readonly durationMs: number;
}

export interface RateTarget extends Target {
  readonly ratePerS: number;
  readonly isServerKilled?: boolean;
  /** Called when the first request is due: until then connections are made. */
  readonly onStart?: () => void;
}

export interface LoadDriverOptions {
  readonly connections: number;
  /** Different ones; a longer run sends them again. */
  readonly requests: number;
  readonly saturationDriver: SaturationDriver;
  readonly batchEvents: number;
  /** Few: each has a whole batch under way. */
  readonly batchConnections: number;
}

/** For connecting, and for what is under way when the time is up. */
const JOB_GRACE_MS = 60_000;
const ATTEMPTS = 5;

export class LoadDriver {
  readonly #options: LoadDriverOptions;
  readonly #folder = mkdtempSync(join(tmpdir(), "hourglass-bench-"));
  readonly #process: Bun.Subprocess;
  #job: JobUnderWay | undefined;

  constructor(options: LoadDriverOptions) {
    this.#options = options;
    // A run that is interrupted leaves nothing behind either; the process sees for itself that this one ends.
    process.once("exit", () => this.#deleteFolder());
    this.#process = Bun.spawn([process.execPath, join(import.meta.dir, "driver-process.ts")], {
      stdin: "ignore",
      stdout: "inherit",
      stderr: "inherit",
      // It shares the cores with what it measures.
      env: { ...process.env, ...MEMORY_SETTINGS },
      ipc: (report: Report) => this.#job?.take(report),
      onExit: (_, code) => this.#job?.take({ error: `the driver's process ended with ${code}` }),
    });
  }

  /** Where the machine is busy with something else nothing may be answered at first: it is tried longer. */
  async saturate(target: Target): Promise<SaturationResult> {
    for (let attempt = 1; ; attempt++) {
      const result = await this.#saturateOnce(target);
      if (result.answered > 0) return result;
      if (result.failed > 0 || attempt === ATTEMPTS) {
        throw new Error(`no request was answered with success, ${result.failed} failed`);
      }
      target = { ...target, durationMs: target.durationMs * 2 };
    }
  }

  async #saturateOnce(target: Target): Promise<SaturationResult> {
    const { connections, saturationDriver } = this.#options;
    const { port, durationMs } = target;
    const job = { port, connections, durationMs, requestsPath: await this.#writeRequests(target) };
    if (saturationDriver === "wrk") return await runWrk(job);
    return (await this.#run({ kind: "saturation", ...job })) as SaturationResult;
  }

  async sendAtRate(target: RateTarget): Promise<ConstantRateResult> {
    const { connections } = this.#options;
    const { port, durationMs, ratePerS, isServerKilled = false, onStart } = target;
    const requestsPath = await this.#writeRequests(target);
    const job = { port, connections, durationMs, ratePerS, isServerKilled, requestsPath };
    return (await this.#run({ kind: "constant rate", ...job }, onStart)) as ConstantRateResult;
  }

  async sendBatches({ port, mix, population, seed, durationMs }: Target): Promise<BatchLoadResult> {
    const { requests, batchEvents, batchConnections } = this.#options;
    const now = await timeWithRoom(durationMs + 5_000);
    const batchesPath = join(this.#folder, "batches");
    const batches = Math.ceil(requests / batchEvents);
    writeFileSync(batchesPath, batchBodies({ mix, population, seed, now, batches, batchEvents }));
    const job = { port, batchesPath, durationMs, connections: batchConnections };
    const result = (await this.#run({ kind: "batches", ...job })) as BatchLoadResult;
    if (result.accepted === 0) throw new Error("no event of a batch was accepted");
    return result;
  }

  async #writeRequests({ mix, population, seed, durationMs }: Target): Promise<string> {
    const now = await timeWithRoom(durationMs + 5_000);
    const path = join(this.#folder, "requests");
    writeFileSync(path, requestLines({ mix, population, seed, now, requests: this.#options.requests }));
    return path;
  }

  async #run(job: Job, onStart: () => void = () => {}): Promise<unknown> {
    const underWay = new JobUnderWay(onStart);
    this.#job = underWay;
    this.#process.send(job);
    const limitMs = job.durationMs + JOB_GRACE_MS;
    const failure = () => new Error(`the load driver did not report within ${limitMs} ms`);
    return await withDeadline(underWay.result, limitMs, failure);
  }

  async stop(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
    this.#deleteFolder();
  }

  #deleteFolder(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

class JobUnderWay {
  readonly #onStart: () => void;
  readonly #end = Promise.withResolvers<unknown>();

  constructor(onStart: () => void) {
    this.#onStart = onStart;
  }

  get result(): Promise<unknown> {
    return this.#end.promise;
  }

  take(report: Report): void {
    if ("isStarted" in report) this.#onStart();
    else if ("result" in report) this.#end.resolve(report.result);
    else this.#end.reject(new Error(`the load driver failed: ${report.error}`));
  }
}

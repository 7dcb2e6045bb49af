/**
 * A server program in a temporary folder on a loopback port, which a test may kill, pause and start again.
 *
 * Invariant: the server and its folder do not outlive the process that started them, however that ends.
 */
import { closeSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Subprocess } from "bun";
import { withDeadline } from "../../../src/runtime/clock.ts";
import { waitFor } from "../service/wait-for.ts";
import { freeze } from "./freeze.ts";
import { postGuardian } from "./guardian.ts";
import { freePort } from "./ports.ts";

export interface ServerPlace {
  readonly port: number;
  readonly dataDir: string;
  /** A folder beside the data, for a socket or a pid file. */
  readonly folder: string;
}

export interface ServerProgram {
  readonly name: string;
  /** Fills the data folder, once. */
  prepare(place: ServerPlace): Promise<void>;
  command(place: ServerPlace): string[];
  /** Whether it is this very process that answers on the port, and is ready to serve. May throw when not. */
  isReady(place: ServerPlace, pid: number): Promise<boolean>;
  readonly startTimeoutMs: number;
  /** It has tests that make it end by itself: no other end that was not asked for goes unreported. */
  readonly mayEndByItself?: boolean;
}

const EXIT_TIMEOUT_MS = 60_000;
const PORT_ATTEMPTS = 5;
/** The report of a crash of MariaDB, with its stack, has 5,000 to 10,000. */
const LOG_TAIL_CHARS = 16_000;

// $1: the folder. Its file `pid` holds the server's pid, and is absent while that does not run.
const CLEAN_UP = '[ -s "$1/pid" ] && kill -9 "$(cat "$1/pid")" 2>/dev/null; rm -rf "$1" || rm -rf "$1"';

class PortTakenError extends Error {
  override readonly name = "PortTakenError";
}

/** Starts the program on a free port; takes another port when somebody was faster. */
export async function startProgram<S extends ServerProcess>(create: (port: number) => S): Promise<S> {
  for (let attempt = 1; ; attempt++) {
    const server = create(await freePort());
    try {
      await server.start();
      return server;
    } catch (error) {
      await server.stop();
      if (!(error instanceof PortTakenError) || attempt === PORT_ATTEMPTS) throw error;
    }
  }
}

export class ServerProcess {
  readonly port: number;
  readonly dataDir: string;
  readonly #program: ServerProgram;
  readonly #place: ServerPlace;
  readonly #pidFile: string;
  readonly #logFile: string;
  /** A descriptor: closed, it sets the guardian to work. */
  readonly #guardian: number;
  #process: Subprocess | undefined;
  #lastPid = 0;
  /** The last process that was told to end. */
  #toEnd: Subprocess | undefined;
  /** The last process that ended. */
  #ended: Subprocess | undefined;
  #prepared = false;
  #stopping: Promise<void> | undefined;

  constructor(program: ServerProgram, port: number) {
    const folder = mkdtempSync(join(tmpdir(), `hourglass-${program.name}-`));
    this.#guardian = postGuardian(folder, CLEAN_UP);
    this.#program = program;
    this.port = port;
    this.dataDir = join(folder, "data");
    this.#place = { port, folder, dataDir: this.dataDir };
    this.#pidFile = join(folder, "pid");
    this.#logFile = join(folder, "log");
    mkdirSync(this.dataDir, { mode: 0o700 });
  }

  /** The running process, or the last one. */
  get pid(): number {
    return this.#lastPid;
  }

  /** The exit code of the last process; null if a signal ended it. */
  get exitCode(): number | null {
    return this.#ended?.exitCode ?? null;
  }

  /** Whether it runs, and the end of what it wrote: for the message of a failure. */
  describe(): string {
    const child = this.#process ?? this.#ended;
    const state =
      child === undefined ? "was not started" : this.#hasEnded(child) ? `has ended (${howEnded(child)})` : "is running";
    return `${this.#program.name} (pid ${this.pid}) ${state}; its last output:\n${this.#logTail()}`;
  }

  /** Starts it (again, on the same port and data), and waits until it serves. */
  async start(): Promise<void> {
    if (this.#stopping !== undefined) throw new Error(`${this.#program.name} was stopped: its data is gone`);
    if (this.#process !== undefined) throw new Error(`${this.#program.name} runs already, pid ${this.pid}`);
    if (!this.#prepared) await this.#program.prepare(this.#place);
    this.#prepared = true;
    const process = this.#spawn();
    await waitFor(
      `${this.#program.name} to serve on port ${this.port}`,
      () => this.#hasEnded(process) || this.#program.isReady(this.#place, process.pid),
      { timeoutMs: this.#program.startTimeoutMs },
    ).catch(async (error) => {
      await this.kill();
      throw new Error(`${error.message}\n${this.#logTail()}`);
    });
    if (this.#hasEnded(process)) throw this.#startFailure(process);
  }

  #spawn(): Subprocess {
    const log = Bun.file(this.#logFile);
    const child = Bun.spawn(this.#program.command(this.#place), {
      cwd: this.#place.folder,
      stdin: "ignore",
      stdout: log,
      stderr: log,
      onExit: (ended) => {
        if (this.#process !== ended) return;
        this.#process = undefined;
        this.#ended = ended;
        rmSync(this.#pidFile, { force: true });
        // Else the tests that miss it would only tell that nothing answers.
        if (this.#program.mayEndByItself !== true && this.#toEnd !== ended) console.error(this.describe());
      },
    });
    child.unref();
    writeFileSync(this.#pidFile, String(child.pid));
    this.#process = child;
    this.#lastPid = child.pid;
    return child;
  }

  #hasEnded(child: Subprocess): boolean {
    return child.exitCode !== null || child.signalCode !== null;
  }

  #startFailure(child: Subprocess): Error {
    const tail = this.#logTail();
    if (/address already in use/i.test(tail)) return new PortTakenError(`port ${this.port} is taken\n${tail}`);
    return new Error(`${this.#program.name} ended at its start (${howEnded(child)})\n${tail}`);
  }

  #logTail(): string {
    try {
      return readFileSync(this.#logFile, "utf8").slice(-LOG_TAIL_CHARS) || "(nothing)";
    } catch {
      return "(it wrote no log)";
    }
  }

  /** Sends the signal and waits for the exit. Nothing happens when it does not run. */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.#process;
    if (child === undefined) return;
    this.#toEnd = child;
    child.kill(signal);
    // A paused process takes any other signal only once it goes on.
    if (signal !== "SIGKILL") child.kill("SIGCONT");
    await withDeadline(
      child.exited,
      EXIT_TIMEOUT_MS,
      () => new Error(`${this.#program.name} (pid ${child.pid}) did not end within ${EXIT_TIMEOUT_MS} ms of ${signal}`),
    );
    await waitFor("the exit to be noted", () => this.#process !== child);
  }

  pause(): void {
    freeze(this.#running().pid);
  }

  resume(): void {
    this.#running().kill("SIGCONT");
  }

  #running(): Subprocess {
    if (this.#process === undefined) throw new Error(`${this.#program.name} does not run`);
    return this.#process;
  }

  /** Ends it in whatever state it is, and deletes everything. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    await this.kill();
    closeSync(this.#guardian);
    const { folder } = this.#place;
    await waitFor(`${folder} to be deleted`, () => !existsSync(folder), { timeoutMs: EXIT_TIMEOUT_MS });
  }
}

function howEnded({ signalCode, exitCode }: Subprocess): string {
  return String(signalCode ?? `exit code ${exitCode}`);
}

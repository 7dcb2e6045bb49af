/**
 * Runs several processes on one port (SO_REUSEPORT); the kernel distributes connections among them. A worker that dies
 * is replaced after a pause, while the others adopt its journal. For metrics, a worker asks the supervisor, which asks
 * all others and forwards their answers.
 *
 * Invariants: this process ends only after all its workers. A worker that does not answer in time is left out: each
 * question has a deadline at both ends.
 */
import type { MetricFamilies, Siblings } from "../../http/route-options.ts";
import { backoffMs, waitAtMost, withDeadline } from "../../runtime/clock.ts";
import type { Log } from "../../runtime/log.ts";

export const WORKER_VARIABLE = "HOURGLASS_WORKER";
/** The process id that a worker's parent has while the supervisor lives. */
export const SUPERVISOR_VARIABLE = "HOURGLASS_SUPERVISOR_PID";

const RESTART_FIRST_MS = 100;
const RESTART_MAX_MS = 10_000;
/** A worker that lived this long did not fail at its start. */
const HEALTHY_MS = 30_000;
const STOP_REPEAT_MS = 500;

interface SupervisorOptions {
  readonly workers: number;
  readonly log: Log;
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Called once, as soon as a worker listens. */
  readonly onListening: () => void;
}

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #children = new Map<number, Bun.Subprocess>();
  readonly #questions = new Questions<MetricFamilies>();
  readonly #stopping = Promise.withResolvers<void>();
  #isStopping = false;
  #isListening = false;

  constructor(options: SupervisorOptions) {
    this.#options = options;
  }

  /** Returns the exit code once all workers have ended, after stop() or because none can start. */
  async run(): Promise<number> {
    const { workers } = this.#options;
    const codes = await Promise.all(Array.from({ length: workers }, (_, slot) => this.#keep(slot)));
    return Math.max(...codes);
  }

  /** At any moment, also before run(): then no worker is started. */
  stop(): void {
    if (this.#isStopping) return;
    this.#isStopping = true;
    this.#stopping.resolve();
    const signal = () => {
      for (const child of this.#children.values()) child.kill("SIGTERM");
    };
    signal();
    // A process that was only just spawned could lose a signal. For one that is stopping, a further one does nothing.
    setInterval(signal, STOP_REPEAT_MS).unref();
  }

  /** Restarts a worker each time it ends. Returns the last exit code, or 0 if none ran when it was to stop. */
  async #keep(slot: number): Promise<number> {
    const { log } = this.#options;
    for (let failures = 0; !this.#isStopping; ) {
      const startedMs = performance.now();
      const code = await this.#runWorker(slot);
      // Code 2: its settings are wrong, as the next worker's would be.
      if (this.#isStopping || code === 2) return code;
      failures = performance.now() - startedMs > HEALTHY_MS ? 0 : failures + 1;
      const pauseMs = backoffMs(failures, RESTART_FIRST_MS, RESTART_MAX_MS, Math.random);
      log.error({ worker: slot, code, pauseMs: Math.round(pauseMs) }, "a worker ended, starting another");
      await waitAtMost(pauseMs, this.#stopping.promise);
    }
    return 0;
  }

  async #runWorker(slot: number): Promise<number> {
    const { command, environment } = this.#options;
    const child = Bun.spawn([...command], {
      env: { ...environment, [WORKER_VARIABLE]: String(slot), [SUPERVISOR_VARIABLE]: String(process.pid) },
      stdio: ["ignore", "inherit", "inherit"],
      ipc: (message) => this.#take(slot, message),
    });
    this.#children.set(slot, child);
    const code = await child.exited;
    this.#children.delete(slot);
    // The signal arrived before the worker had a handler.
    return this.#isStopping && child.signalCode !== null ? 0 : code;
  }

  #take(slot: number, message: Message): void {
    if (message.kind === "listening") this.#onListening();
    else if (message.kind === "own") this.#questions.answer(message.question, message.metrics);
    else if (message.kind === "ask") void this.#answer(slot, message.question);
  }

  /** Sends the metrics of the others to the worker that asks. */
  async #answer(asker: number, question: number): Promise<void> {
    const others = Array.from(this.#children).filter(([worker]) => worker !== asker);
    const answers = await Promise.all(others.map(([, worker]) => this.#collect(worker)));
    const all = answers.filter((metrics) => metrics !== undefined);
    const channel = this.#children.get(asker);
    if (channel !== undefined) trySend(channel, { kind: "answer", question, all });
  }

  #collect(worker: Channel): Promise<MetricFamilies | undefined> {
    return this.#questions.ask((question) => worker.send({ kind: "collect", question }), COLLECT_DEADLINE_MS);
  }

  #onListening(): void {
    if (this.#isListening || this.#isStopping) return;
    this.#isListening = true;
    this.#options.onListening();
  }
}

type Message =
  | { readonly kind: "listening" }
  /** A worker requests the metrics of the others. */
  | { readonly kind: "ask"; readonly question: number }
  | { readonly kind: "collect"; readonly question: number }
  | { readonly kind: "own"; readonly question: number; readonly metrics: MetricFamilies }
  | { readonly kind: "answer"; readonly question: number; readonly all: readonly MetricFamilies[] };

/** A scrape has 10 s by default. */
const COLLECT_DEADLINE_MS = 1_000;
const ASK_DEADLINE_MS = 2_000;

interface Channel {
  send(message: Message): unknown;
}

/** Questions to other processes. */
class Questions<Answer> {
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #count = 0;

  /** `send` sends the question's number. Undefined if there is no answer in time. */
  async ask(send: (question: number) => void, deadlineMs: number): Promise<Answer | undefined> {
    const question = ++this.#count;
    const { promise, resolve } = Promise.withResolvers<Answer>();
    this.#waiting.set(question, resolve);
    try {
      send(question);
      return await withDeadline(promise, deadlineMs, () => new Error("no answer"));
    } catch {
      return undefined;
    } finally {
      this.#waiting.delete(question);
    }
  }

  answer(question: number, answer: Answer): void {
    this.#waiting.get(question)?.(answer);
  }
}

/** A worker tells its supervisor. */
export function reportListening(): void {
  process.send?.({ kind: "listening" } satisfies Message);
}

export function siblingsOf(worker: number, count: number): Siblings {
  const questions = new Questions<readonly MetricFamilies[]>();
  const channel: Channel = { send: (message) => process.send?.(message) };
  let own: (() => Promise<MetricFamilies>) | undefined;
  process.on("message", (message: Message) => {
    if (message.kind === "answer") questions.answer(message.question, message.all);
    if (message.kind !== "collect" || own === undefined) return;
    const { question } = message;
    void own().then((metrics) => trySend(channel, { kind: "own", question, metrics }));
  });
  return {
    worker,
    count,
    share(metrics) {
      own = metrics;
    },
    async ask() {
      return (await questions.ask((question) => channel.send({ kind: "ask", question }), ASK_DEADLINE_MS)) ?? [];
    },
  };
}

/** A message to a process that has just ended is lost; the question then ends at its deadline. */
function trySend(channel: Channel, message: Message): void {
  try {
    channel.send(message);
  } catch {}
}

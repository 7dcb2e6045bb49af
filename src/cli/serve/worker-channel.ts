/**
 * Exchanges metrics among workers: a worker asks the supervisor, which asks all others and forwards their answers.
 *
 * Invariant: a worker that does not answer in time is left out. Each question has a deadline at both ends.
 */
import type { MetricFamilies, Siblings } from "../../http/route-options.ts";
import { withDeadline } from "../../runtime/clock.ts";

type Message =
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

export class MetricsExchange {
  readonly #workers: () => ReadonlyMap<number, Channel>;
  readonly #waiting = new Map<number, (metrics: MetricFamilies) => void>();
  #questions = 0;

  constructor(workers: () => ReadonlyMap<number, Channel>) {
    this.#workers = workers;
  }

  take(worker: number, message: Message): void {
    if (message.kind === "own") this.#waiting.get(message.question)?.(message.metrics);
    if (message.kind === "ask") void this.#answer(worker, message.question);
  }

  async #answer(asker: number, question: number): Promise<void> {
    const others = Array.from(this.#workers()).filter(([worker]) => worker !== asker);
    const answers = await Promise.all(others.map(([, worker]) => this.#ask(worker)));
    const all = answers.filter((metrics) => metrics !== undefined);
    const channel = this.#workers().get(asker);
    if (channel !== undefined) trySend(channel, { kind: "answer", question, all });
  }

  async #ask(worker: Channel): Promise<MetricFamilies | undefined> {
    const question = ++this.#questions;
    const { promise, resolve } = Promise.withResolvers<MetricFamilies>();
    this.#waiting.set(question, resolve);
    try {
      trySend(worker, { kind: "collect", question });
      return await withDeadline(promise, COLLECT_DEADLINE_MS, () => new Error("no answer"));
    } catch {
      return undefined;
    } finally {
      this.#waiting.delete(question);
    }
  }
}

export function siblingsOf(worker: number, count: number): Siblings {
  const waiting = new Map<number, (all: readonly MetricFamilies[]) => void>();
  const channel: Channel = { send: (message) => process.send?.(message) };
  let questions = 0;
  let own: (() => Promise<MetricFamilies>) | undefined;
  process.on("message", (message: Message) => {
    if (message.kind === "answer") waiting.get(message.question)?.(message.all);
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
      const question = ++questions;
      const { promise, resolve } = Promise.withResolvers<readonly MetricFamilies[]>();
      waiting.set(question, resolve);
      try {
        trySend(channel, { kind: "ask", question });
        return await withDeadline(promise, ASK_DEADLINE_MS, () => new Error("no answer"));
      } catch {
        return [];
      } finally {
        waiting.delete(question);
      }
    },
  };
}

/** A message to a process that has just ended is lost; the question then ends at its deadline. */
function trySend(channel: Channel, message: Message): void {
  try {
    channel.send(message);
  } catch {}
}

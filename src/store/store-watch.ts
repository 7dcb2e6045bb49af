/**
 * Observes every call to a store: counts failures, and logs when the store becomes unavailable and available again.
 * Passes on what open() warns of, since any caller may be the first that the store answers.
 *
 * Invariant: callers get exactly the store's answers. Only unavailability counts as a failure.
 */
import { errorText } from "../runtime/error-text.ts";
import type { Log } from "../runtime/log.ts";
import { StoreUnavailableError } from "./unavailable-error.ts";

/** Writes that are repeated until they succeed. After one has failed, the answer to a read shows nothing. */
const REPEATED_WRITES = new Set(["register", "renewLease", "commit", "trimJournal", "flush"]);
/** Show that a store can be written to. */
const PROOFS = new Set(["register", "renewLease", "commit", "flush", "seal", "beginEpoch"]);

/** Gets the warnings of each open() that succeeded. What it throws, open() throws. */
export type OnOpen = (warnings: readonly string[]) => void;

export class StoreWatch {
  /** Numbers of failed calls by method. */
  readonly errors = new Map<string, number>();
  readonly name: "hot" | "cold";
  /** Undefined if there is only one shard. */
  readonly shard: number | undefined;
  readonly #log: Log;
  readonly #onOpen: OnOpen;
  #unavailableSinceMs: number | undefined;
  #errorsOfIncident = 0;
  #lastFailed = "";
  #hasFailedToWrite = false;

  constructor(name: "hot" | "cold", log: Log, onOpen: OnOpen = () => {}, shard?: number) {
    this.name = name;
    this.#log = log;
    this.#onOpen = onOpen;
    this.shard = shard;
  }

  get isUnavailable(): boolean {
    return this.#unavailableSinceMs !== undefined;
  }

  get unavailableMs(): number | undefined {
    return this.#unavailableSinceMs === undefined ? undefined : performance.now() - this.#unavailableSinceMs;
  }

  /** Wraps a store so that its calls are observed. */
  watched<S extends object>(store: S): S {
    const methods = new Map<PropertyKey, unknown>();
    return new Proxy(store, {
      get: (target, name) => {
        const known = methods.get(name);
        if (known !== undefined) return known;
        const member: unknown = Reflect.get(target, name, target);
        if (typeof member !== "function") return member;
        const bound = member.bind(target);
        const method = name === "close" ? bound : this.#observed(String(name), bound);
        methods.set(name, method);
        return method;
      },
    });
  }

  #observed(operation: string, method: (...args: unknown[]) => Promise<unknown>) {
    return async (...args: unknown[]) => {
      try {
        const answer = await method(...args);
        if (operation === "open") this.#onOpen(answer as readonly string[]);
        if (this.#unavailableSinceMs !== undefined) this.#noteAnswer(operation);
        return answer;
      } catch (error) {
        if (error instanceof StoreUnavailableError) this.#noteFailure(operation, error);
        throw error;
      }
    };
  }

  #noteFailure(operation: string, error: Error): void {
    this.errors.set(operation, (this.errors.get(operation) ?? 0) + 1);
    this.#lastFailed = operation;
    this.#hasFailedToWrite ||= REPEATED_WRITES.has(operation);
    this.#errorsOfIncident += 1;
    if (this.#unavailableSinceMs !== undefined) return;
    this.#unavailableSinceMs = performance.now();
    this.#log.warn({ operation, error: errorText(error) }, `the ${this.name} store is unavailable`);
  }

  #noteAnswer(operation: string): void {
    // open() of an open store answers from memory, which proves nothing, unless open() had failed.
    if (operation === "open" && this.#lastFailed !== "open") return;
    if (this.#hasFailedToWrite && !PROOFS.has(operation)) return;
    const unavailableMs = Math.round(performance.now() - this.#unavailableSinceMs!);
    this.#log.info({ unavailableMs, errors: this.#errorsOfIncident }, `the ${this.name} store is available again`);
    this.#unavailableSinceMs = undefined;
    this.#errorsOfIncident = 0;
    this.#hasFailedToWrite = false;
  }
}

/**
 * Runs a cold store in its own thread, so that a flush does not block the event loop that serves requests. 10,000
 * events keep that thread busy for 20 to 40 ms, for SQLite as for MySQL. Both ends of the calls are here.
 *
 * Messages are plain data, since structured cloning loses an object's class.
 *
 * Invariant: a thread that ends leaves no call unanswered, and the next call starts another thread.
 */
import { workerData } from "node:worker_threads";
import { decodeBatch, encodeBatch } from "../../domain/event.ts";
import type { HourTotals } from "../../domain/hour-range.ts";
import { withDeadline } from "../../runtime/clock.ts";
import { errorText } from "../../runtime/error-text.ts";
import { type ColdStore, ColdUnavailableError, type HourAudit, WriterSealedError } from "../cold.ts";
import { type ColdPlace, coldStoreAt } from "../open-cold.ts";
import { type HourRow, hourOfRow } from "../sql/hours.ts";
import { flushName } from "../sql/rows.ts";

/** In the built program, scripts/build.ts determines the path. */
const ENTRY = import.meta.dir.startsWith("/$bunfs/")
  ? "./store/thread/entry.ts"
  : new URL("./entry.ts", import.meta.url).href;
/** Longer than the stores themselves take to close. */
const CLOSE_GRACE_MS = 3_000;

/** Their visitors run in this thread, and sending the rows here would cost more than reading them here. */
const METHODS_HERE: ReadonlySet<PropertyKey> = new Set<ColdMethod>(["readRange", "readUsers"]);

type AnyMethod = (...args: unknown[]) => Promise<unknown>;

/** `here` is the store of `place` in this thread. `entry` is the other thread's code. */
export function coldStoreInThread(place: ColdPlace, here: ColdStore, entry = ENTRY): ColdStore {
  const thread = new StoreThread(place, entry, here.description);
  const readHere = (method: AnyMethod) => {
    return async (...args: unknown[]) => {
      if (thread.isClosed) throw thread.unavailable("read a range", "it is closed");
      await here.open();
      return await method(...args);
    };
  };
  const close = async () => {
    await thread.close();
    await here.close();
  };
  const methods = new Map<string, unknown>(
    Object.entries(here).map(([name, member]) => {
      if (typeof member !== "function") return [name, member];
      if (METHODS_HERE.has(name)) return [name, readHere(member)];
      return [name, (...args: unknown[]) => thread.call(name as ColdMethod, args)];
    }),
  );
  return { ...Object.fromEntries(methods), close } as unknown as ColdStore;
}

class StoreThread {
  readonly #place: ColdPlace;
  readonly #entry: string;
  readonly #description: string;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #thread: Worker | undefined;
  #calls = 0;
  isClosed = false;

  constructor(place: ColdPlace, entry: string, description: string) {
    this.#place = place;
    this.#entry = entry;
    this.#description = description;
  }

  async call(method: ColdMethod, args: unknown[]): Promise<unknown> {
    const packing = packingOf(method);
    if (this.isClosed) throw this.unavailable(packing.what?.(args) ?? method, "it is closed");
    const packed = (packing.args?.pack(args) ?? args) as readonly unknown[];
    const result = await this.#send(method, packed);
    return packing.result === undefined ? result : packing.result.unpack(result);
  }

  #send(method: ColdMethod, args: readonly unknown[]): Promise<unknown> {
    this.#thread ??= this.#start();
    const number = ++this.#calls;
    const waiting = Promise.withResolvers<unknown>();
    this.#waiting.set(number, waiting);
    this.#thread.postMessage({ number, method, args } satisfies Call);
    return waiting.promise;
  }

  async close(): Promise<void> {
    if (this.#thread !== undefined) {
      const closed = this.call("close", []);
      await withDeadline(closed, CLOSE_GRACE_MS, () => new Error("it does not close")).catch(() => {});
    }
    this.isClosed = true;
    this.#end("it was closed");
  }

  #start(): Worker {
    const options = { name: "cold store", workerData: this.#place };
    const thread = new Worker(this.#entry, options as WorkerOptions);
    thread.onmessage = ({ data }: MessageEvent<Answer>) => this.#take(data);
    thread.onerror = ({ message }) => {
      if (this.#thread === thread) this.#end(`its thread failed: ${message}`);
    };
    thread.addEventListener("close", () => {
      if (this.#thread === thread) this.#end("its thread ended");
    });
    return thread;
  }

  #take(answer: Answer): void {
    const waiting = this.#waiting.get(answer.number);
    this.#waiting.delete(answer.number);
    if ("result" in answer) waiting?.resolve(answer.result);
    else if (answer.isSealed) waiting?.reject(new WriterSealedError(answer.error));
    else waiting?.reject(new ColdUnavailableError(answer.error));
  }

  #end(why: string): void {
    this.#thread?.terminate();
    this.#thread = undefined;
    for (const waiting of this.#waiting.values()) waiting.reject(this.unavailable("answer", why));
    this.#waiting.clear();
  }

  unavailable(what: string, why: string): ColdUnavailableError {
    return new ColdUnavailableError(`${this.#description} could not ${what}: ${why}`);
  }
}

/** The other end: runs the store of `workerData` in this thread, and answers each call with a message. */
export function answerCalls(self: Worker): void {
  const opening = coldStoreAt(workerData as ColdPlace, Date.now);
  self.onmessage = async ({ data: { number, method, args } }: MessageEvent<Call>) => {
    let answer: Answer;
    try {
      const store = await opening;
      const packing = packingOf(method);
      const call = store[method] as AnyMethod;
      const result = await call(...(packing.args?.unpack(args) ?? args));
      answer = { number, result: packing.result === undefined ? result : packing.result.pack(result) };
    } catch (error) {
      answer = { number, error: errorText(error), isSealed: error instanceof WriterSealedError };
    }
    self.postMessage(answer);
  };
}

type AsyncMethod = (...args: never[]) => Promise<unknown>;

type ColdMethod = {
  [Name in keyof ColdStore]: ColdStore[Name] extends AsyncMethod ? Name : never;
}[keyof ColdStore];

interface Call {
  readonly number: number;
  readonly method: ColdMethod;
  readonly args: readonly unknown[];
}

type Answer =
  | { readonly number: number; readonly result: unknown }
  | { readonly number: number; readonly error: string; readonly isSealed: boolean };

/** `unpack` turns the output of `pack` into an equal of its input. */
interface Packing<T> {
  pack(value: T): unknown;
  unpack(packed: unknown): T;
}

interface MethodPacking<Args, Result> {
  /** Describes the call in error messages; the default is the method's name. */
  what?(args: Args): string;
  readonly args?: Packing<Args>;
  readonly result?: Packing<Result>;
}

type PackingOf<Method extends ColdMethod> = MethodPacking<
  Parameters<ColdStore[Method]>,
  Awaited<ReturnType<ColdStore[Method]>>
>;

/** A batch as text: copying one string is cheaper than copying several for each event. */
interface BatchText {
  readonly seq: number;
  readonly body: string;
}

/** Methods whose arguments or result structured cloning would break. */
const PACKING: { readonly [Method in ColdMethod]?: PackingOf<Method> } = {
  flush: {
    what: ([writer, batches]) => flushName(writer, batches),
    args: {
      pack: ([writer, batches, ...where]) => {
        return [writer, batches.map((batch): BatchText => ({ seq: batch.seq, body: encodeBatch(batch) })), ...where];
      },
      unpack: ([writer, batches, ...where]: [string, BatchText[], number?, number?]) => {
        return [writer, batches.map(({ seq, body }) => decodeBatch(seq, body, [])), ...where];
      },
    },
  },
  read: { result: { pack: packHour, unpack: (hour: HourRow | undefined) => hour && hourOfRow(hour) } },
  audit: {
    result: {
      pack: (audit) => ({ ...audit, aggregate: packHour(audit.aggregate), rows: packHour(audit.rows) }),
      unpack: (audit: HourAudit & { aggregate?: HourRow; rows?: HourRow }) => {
        return {
          ...audit,
          aggregate: audit.aggregate && hourOfRow(audit.aggregate),
          rows: audit.rows && hourOfRow(audit.rows),
        };
      },
    },
  },
};

function packingOf(method: ColdMethod): MethodPacking<unknown[], unknown> {
  return (PACKING[method] ?? {}) as MethodPacking<unknown[], unknown>;
}

function packHour(hour: HourTotals | undefined): HourRow | undefined {
  if (hour === undefined) return undefined;
  const { clicks, impressions, users } = hour;
  return { clicks, impressions, ...users.encode() };
}

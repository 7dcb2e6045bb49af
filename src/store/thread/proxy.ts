/**
 * A cold store in a thread of its own, so that a flush does not keep the event loop that takes requests: 10,000
 * events take that thread 20 to 40 ms, in SQLite as in statements for MySQL.
 *
 * Invariant: a thread that ends leaves no call without an answer, and the next call begins another thread.
 */
import type { ApiKey } from "../../domain/api-key.ts";
import type { JournaledBatch } from "../../domain/batch.ts";
import type { HourKey } from "../../domain/event.ts";
import type { HourRange } from "../../domain/hour-range.ts";
import type { ErasedCounts, Kept } from "../../domain/retention-bounds.ts";
import { withDeadline } from "../../runtime/deadline.ts";
import {
  type ColdHour,
  type ColdStore,
  ColdUnavailableError,
  type DeadLetter,
  type ErasedHour,
  flushName,
  type HourAudit,
  type HourSize,
  type PastReads,
  type Poison,
  type ReplayResult,
  type RowKey,
  type RowPage,
  type StoredEvents,
  type StoredPoison,
  type Swept,
  type UserRow,
  type UserSelection,
  type UsersRange,
  type VisitPart,
  WriterSealedError,
} from "../cold.ts";
import { coldStoreAt } from "../open-cold.ts";
import {
  type Answer,
  type Call,
  type ColdMethod,
  type ColdPlace,
  type PackedAudit,
  type PackedHour,
  packBatches,
  unpackAudit,
  unpackHour,
} from "./messages.ts";

/** In the built program the only folders are those that the build gave to its entry points (scripts/build.ts). */
const ENTRY = import.meta.dir.startsWith("/$bunfs/")
  ? "./store/thread/entry.ts"
  : new URL("./entry.ts", import.meta.url).href;
/** Above what the stores themselves take to close. */
const CLOSE_GRACE_MS = 3_000;

/** `entry`: the thread's code. */
export function coldStoreInThread(place: ColdPlace, entry = ENTRY): ColdStore {
  return new ThreadColdStore(place, entry);
}

class ThreadColdStore implements ColdStore {
  readonly name: string;
  readonly description: string;
  readonly #place: ColdPlace;
  readonly #entry: string;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #thread: Worker | undefined;
  /** For ranges alone: opened when one is asked for. */
  readonly #here: ColdStore;
  #calls = 0;
  #isClosed = false;

  constructor(place: ColdPlace, entry: string) {
    this.#place = place;
    this.#entry = entry;
    this.#here = coldStoreAt(place, Date.now);
    this.name = this.#here.name;
    this.description = this.#here.description;
  }

  get pastReads(): PastReads | undefined {
    return this.#here.pastReads;
  }

  async open(): Promise<void> {
    await this.#call("open");
  }

  async shardCount(): Promise<number | undefined> {
    return (await this.#call("shardCount")) as number | undefined;
  }

  async fixShardCount(count: number): Promise<number> {
    return (await this.#call("fixShardCount", [count])) as number;
  }

  async flush(writer: string, batches: readonly JournaledBatch[], shard?: number): Promise<number> {
    const what = flushName(writer, batches);
    return (await this.#call("flush", [writer, packBatches(batches), shard], what)) as number;
  }

  async watermark(writer: string): Promise<number> {
    return (await this.#call("watermark", [writer])) as number;
  }

  async seal(writer: string, shard?: number): Promise<void> {
    await this.#call("seal", [writer, shard]);
  }

  async read(key: HourKey, shards?: readonly number[]): Promise<ColdHour | undefined> {
    return unpackHour((await this.#call("read", [key, shards])) as PackedHour | undefined);
  }

  readRange(range: HourRange, visit: VisitPart): Promise<void> {
    return this.#readHere((here) => here.readRange(range, visit));
  }

  readUsers(range: UsersRange, visit: (row: UserRow) => void): Promise<void> {
    return this.#readHere((here) => here.readUsers(range, visit));
  }

  /** What is shown row by row is taken in by this thread anyway: sending it here would cost more than reading it. */
  async #readHere(read: (here: ColdStore) => Promise<void>): Promise<void> {
    if (this.#isClosed) throw this.#unavailable("read a range", "it is closed");
    await this.#here.open();
    await read(this.#here);
  }

  async streams(limit: number): Promise<readonly string[]> {
    return (await this.#call("streams", [limit])) as string[];
  }

  async newestHour(): Promise<number | undefined> {
    return (await this.#call("newestHour")) as number | undefined;
  }

  async storedEvents(writers: readonly string[]): Promise<StoredEvents> {
    return (await this.#call("storedEvents", [writers])) as StoredEvents;
  }

  async hourKeys(): Promise<readonly HourKey[]> {
    return (await this.#call("hourKeys")) as HourKey[];
  }

  async rows(key: HourKey, after: RowKey | undefined, limit: number): Promise<RowPage> {
    return (await this.#call("rows", [key, after, limit])) as RowPage;
  }

  async audit(key: HourKey, shard?: number): Promise<HourAudit> {
    return unpackAudit((await this.#call("audit", [key, shard])) as PackedAudit);
  }

  async rebuild(key: HourKey, shard?: number): Promise<boolean> {
    return (await this.#call("rebuild", [key, shard])) as boolean;
  }

  async kept(): Promise<Kept> {
    return (await this.#call("kept")) as Kept;
  }

  async sweep(kept: Kept, now: number): Promise<Swept> {
    return (await this.#call("sweep", [kept, now])) as Swept;
  }

  async nextHourWithRows(hour: number): Promise<number | undefined> {
    return (await this.#call("nextHourWithRows", [hour])) as number | undefined;
  }

  async hourSizes(): Promise<readonly HourSize[]> {
    return (await this.#call("hourSizes")) as HourSize[];
  }

  async countUserRows(selection: UserSelection, hour: number): Promise<ErasedCounts> {
    return (await this.#call("countUserRows", [selection, hour])) as ErasedCounts;
  }

  async eraseUserRows(selection: UserSelection, hour: number): Promise<ErasedCounts> {
    return (await this.#call("eraseUserRows", [selection, hour])) as ErasedCounts;
  }

  async countUserDeadLetters(selection: UserSelection): Promise<number> {
    return (await this.#call("countUserDeadLetters", [selection])) as number;
  }

  async eraseUserDeadLetters(selection: UserSelection): Promise<readonly HourKey[]> {
    return (await this.#call("eraseUserDeadLetters", [selection])) as HourKey[];
  }

  async erasedRows(range: UsersRange): Promise<readonly ErasedHour[]> {
    return (await this.#call("erasedRows", [range])) as ErasedHour[];
  }

  async deadLetterCount(): Promise<number> {
    return (await this.#call("deadLetterCount")) as number;
  }

  async deadLetters(afterNumber: number, limit: number): Promise<readonly DeadLetter[]> {
    return (await this.#call("deadLetters", [afterNumber, limit])) as DeadLetter[];
  }

  async replayDeadLetter(number: number): Promise<ReplayResult> {
    return (await this.#call("replayDeadLetter", [number])) as ReplayResult;
  }

  async dropDeadLetter(number: number): Promise<boolean> {
    return (await this.#call("dropDeadLetter", [number])) as boolean;
  }

  async apiKeys(): Promise<readonly ApiKey[]> {
    return (await this.#call("apiKeys")) as ApiKey[];
  }

  async addApiKey(key: ApiKey): Promise<void> {
    await this.#call("addApiKey", [key]);
  }

  async revokeApiKey(id: string, at: number): Promise<boolean> {
    return (await this.#call("revokeApiKey", [id, at])) as boolean;
  }

  async setAsidePoison(poison: readonly Poison[]): Promise<void> {
    await this.#call("setAsidePoison", [poison]);
  }

  async poison(afterNumber: number, limit: number): Promise<readonly StoredPoison[]> {
    return (await this.#call("poison", [afterNumber, limit])) as StoredPoison[];
  }

  async dropPoison(number: number): Promise<boolean> {
    return (await this.#call("dropPoison", [number])) as boolean;
  }

  async close(): Promise<void> {
    if (this.#thread !== undefined) {
      const closed = this.#call("close");
      await withDeadline(closed, CLOSE_GRACE_MS, () => new Error("it does not end")).catch(() => {});
    }
    this.#isClosed = true;
    this.#end("it was closed");
    await this.#here.close();
  }

  #call(method: ColdMethod, args: readonly unknown[] = [], what: string = method): Promise<unknown> {
    if (this.#isClosed) return Promise.reject(this.#unavailable(what, "it is closed"));
    this.#thread ??= this.#begin();
    const number = ++this.#calls;
    const waiting = Promise.withResolvers<unknown>();
    this.#waiting.set(number, waiting);
    this.#thread.postMessage({ number, method, args } satisfies Call);
    return waiting.promise;
  }

  #begin(): Worker {
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
    for (const waiting of this.#waiting.values()) waiting.reject(this.#unavailable("answer", why));
    this.#waiting.clear();
  }

  #unavailable(what: string, why: string): ColdUnavailableError {
    return new ColdUnavailableError(`${this.description} could not ${what}: ${why}`);
  }
}

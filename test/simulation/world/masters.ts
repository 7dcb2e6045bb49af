/**
 * Which Redis is the master of each shard, from whose point of view, and what a master lacks that another one had
 * acknowledged.
 *
 * Invariant: what a data set has lost does not return: of two masters the promoted one stays.
 */
import { isMissing, type Loss, type SentEvent, type SentEvents } from "../check/events.ts";
import type { HotServerName } from "../faults/kinds.ts";
import type { EventRow } from "../stores/cold/data.ts";
import type { HotData } from "../stores/hot/data.ts";
import { HotServer } from "../stores/hot/server.ts";
import type { Process } from "./process.ts";
import type { Scheduler } from "./scheduler.ts";
import type { Trace } from "./trace.ts";

export interface MastersOptions {
  readonly shards: number;
  readonly scheduler: Scheduler;
  readonly trace: Trace;
  readonly events: SentEvents;
  /** Acknowledged is what a replica has as well. */
  readonly areReplicasAwaited: boolean;
  readonly newData: (server: HotServer) => HotData;
  /** Whether this data set counts what a cold store that was set back has no longer. */
  readonly isAhead: (shard: number, data: HotData) => boolean;
}

/** A master that was cut off from its replicas, one of which was promoted. */
interface Split {
  readonly former: HotServer;
  /** Each writer's last seq when the other master was promoted. */
  readonly lastSeqs: ReadonlyMap<string, number>;
  /** The processes that still have the former one for the master, by their places. */
  readonly slots: ReadonlySet<number>;
}

export interface SplitOptions {
  readonly slots: readonly number[];
  /** The replica's data. */
  readonly replica: HotData;
  /** How long the former one accepts writes: as `min-replicas-max-lag` has it. */
  readonly writableMs: number;
  /** The promoted one. */
  readonly hasReplica: boolean;
}

/** A row whose batch the master of its time did not know, or has lost. */
interface StrayRow {
  readonly row: EventRow;
  readonly writer: string;
}

interface LostWrites {
  readonly lastSeq: number;
  /** Events that no master has. */
  readonly events: readonly SentEvent[];
  isFound: boolean;
}

export class Masters {
  /** Indexed by shard. */
  readonly current: HotServer[];
  readonly #options: MastersOptions;
  readonly #splits = new Map<number, Split>();
  readonly #writers = new Map<string, Process>();
  /** Present ones, by process and shard. */
  readonly #latestWriters = new Map<string, string>();
  /** Masters that lack writes, with the writers concerned, until every process knows. */
  readonly #losses = new Map<HotServer, Map<string, LostWrites>>();
  #strayRows: StrayRow[] = [];
  #rows: EventRow[] = [];

  constructor(options: MastersOptions) {
    this.#options = options;
    this.current = Array.from({ length: options.shards }, (_, shard) => {
      return new HotServer(`redis-${shard}`, options.newData);
    });
  }

  named(name: HotServerName): HotServer {
    return this.current[Number(name.slice("redis-".length))]!;
  }

  /** The master that a process in this place uses. */
  of(slot: number, shard: number): HotServer {
    const split = this.#splits.get(shard);
    return split?.slots.has(slot) ? split.former : this.current[shard]!;
  }

  /** The data that a process in this place sees. */
  dataOf(slot: number): readonly HotData[] {
    return this.current.map((_, shard) => this.of(slot, shard).data);
  }

  get data(): readonly HotData[] {
    return [...this.current, ...Array.from(this.#splits.values(), ({ former }) => former)].map(({ data }) => data);
  }

  isSplit(shard: number): boolean {
    return this.#splits.has(shard);
  }

  split(shard: number, { slots, replica, writableMs, hasReplica }: SplitOptions): void {
    const { scheduler, trace } = this.#options;
    const former = this.current[shard]!;
    const promoted = new HotServer(`${former.name}'`, () => replica);
    promoted.skewMs = former.skewMs;
    promoted.isCutOff = !hasReplica;
    former.isCutOff = true;
    scheduler.after(writableMs, undefined, () => {
      former.tooFewReplicasSinceMs = scheduler.nowMs;
    });
    this.current[shard] = promoted;
    const lastSeqs = new Map(Array.from(this.#writers.keys(), (writer) => [writer, former.data.lastSeq(writer) ?? -1]));
    this.#splits.set(shard, { former, lastSeqs, slots: new Set(slots) });
    if (trace.isOn) trace.add(promoted.name, `is promoted; ${former.name} stays the master of places ${slots}`);
    // What the former one lacks, its replica lacks as well.
    const inherited = Array.from(this.#losses.get(former) ?? [], ([writer, lost]) => [writer, { ...lost }] as const);
    if (inherited.length > 0) this.#losses.set(promoted, new Map(inherited));
    this.noteLoss(promoted, { before: former.data, after: replica });
  }

  /** The former master becomes a replica. Answers whose connections that ends. */
  join(shard: number): readonly number[] {
    const split = this.#splits.get(shard);
    if (split === undefined) return [];
    const promoted = this.current[shard]!;
    this.#splits.delete(shard);
    promoted.isCutOff = false;
    split.former.stop();
    this.noteLoss(promoted, { before: split.former.data, after: promoted.data, known: split.lastSeqs });
    return [...split.slots];
  }

  /** `server` goes on with what is left. */
  noteLoss(server: HotServer, loss: Loss): void {
    const { before, after, known } = loss;
    if (before === after) return;
    const { events, trace, areReplicasAwaited } = this.#options;
    const lost = events.lost({ mayLose: !areReplicasAwaited, ...loss }, (writer) => this.#writers.get(writer));
    const writers = this.#losses.get(server) ?? new Map<string, LostWrites>();
    for (const writer of this.#writers.keys()) {
      const lastSeq = before.lastSeq(writer) ?? -1;
      if (lastSeq <= Math.max(after.lastSeq(writer) ?? -1, known?.get(writer) ?? -1)) continue;
      const earlier = writers.get(writer)?.events ?? [];
      writers.set(writer, { lastSeq, events: [...earlier, ...(lost.get(writer) ?? [])], isFound: false });
    }
    this.#losses.set(server, writers);
    for (const row of this.#rows) {
      const { data } = this.current[row.shard]!;
      if (data === before || data === after) this.#noteIfStray(row, after);
    }
    if (!trace.isOn) return;
    const count = [...lost.values()].flat().length;
    trace.add(server.name, `lacks writes, ${count} unflushed events among them`);
  }

  stored(row: EventRow): void {
    const { data } = this.current[row.shard]!;
    this.#rows.push(row);
    this.#noteIfStray(row, data);
  }

  /** The cold store has these rows no longer. */
  unstored(isLost: (row: EventRow) => boolean): void {
    this.#rows = this.#rows.filter((row) => !isLost(row));
    this.#strayRows = this.#strayRows.filter(({ row }) => !isLost(row));
  }

  #noteIfStray(row: EventRow, data: HotData): void {
    const writer = row.writer.replace(/~+$/, "");
    if ((data.lastSeq(writer) ?? 0) < row.seq) this.#strayRows.push({ row, writer });
  }

  /**
   * Its hours lack rows that a process has stored which stayed with a former master, or which has ended: until some
   * process compares the writers of both stores. Or they are of a later data set, which was set up at a former master:
   * until then, too.
   */
  #isIncomplete(shard: number): boolean {
    const { data } = this.current[shard]!;
    return this.#strayRows.some(({ row, writer }) => {
      if (row.shard !== shard || data.meta === undefined) return false;
      if (row.epoch > data.meta.epoch) return true;
      if (row.epoch < data.meta.epoch) return false;
      return this.#writers.get(writer)!.isDead && (data.lastSeq(writer) ?? 0) < row.seq;
    });
  }

  registers(writer: string, process: Process): void {
    this.#writers.set(writer, process);
  }

  /** Its process takes part in the data set as that is now. */
  registered(writer: string, server: HotServer, shard: number): void {
    const process = this.#writers.get(writer)!;
    this.#latestWriters.set(`${process.name} ${shard}`, writer);
    for (const [lostWriter, lost] of this.#losses.get(server) ?? []) {
      if (this.#writers.get(lostWriter) === process) lost.isFound = true;
    }
  }

  /** Its process has neither ended nor taken another one: until then it looks at the data set before it writes. */
  isInUse(writer: string, shard: number): boolean {
    const process = this.#writers.get(writer)!;
    return !process.isDead && this.#latestWriters.get(`${process.name} ${shard}`) === writer;
  }

  /** Until then reads may lack something, and ids be unknown. */
  isUnnoticed(shard: number): boolean {
    if (this.#splits.has(shard)) return true;
    const server = this.current[shard]!;
    for (const [writer, lost] of this.#losses.get(server) ?? []) {
      if (lost.events.some(isMissing) || this.#isUnknown(writer, lost, shard)) return true;
    }
    if (this.#isIncomplete(shard) || this.#options.isAhead(shard, server.data)) return true;
    if (this.#losses.delete(server) && this.#losses.size + this.#splits.size === 0) this.#options.events.noticed();
    return false;
  }

  /**
   * Of a writer that was given up, or whose process has ended, nobody notices anything before its journal is adopted,
   * if there is one. What was not acknowledged is sent again, and then nothing is missing.
   */
  #isUnknown(writer: string, { lastSeq, isFound }: LostWrites, shard: number): boolean {
    const { data } = this.current[shard]!;
    if (isFound || (data.lastSeq(writer) ?? -1) >= lastSeq) return false;
    return this.isInUse(writer, shard) || data.journals.has(writer);
  }

  get haveLosses(): boolean {
    return this.current.some((_, shard) => this.isUnnoticed(shard));
  }

  /** Changes whenever some master lacks something, or does no longer. */
  get version(): number {
    let version = this.#losses.size + this.#splits.size;
    for (const { data } of this.current) version += data.version;
    return version;
  }

  /** Whether what is committed to this data set now is unknown to another one that has a master, too. */
  isDivided(data: HotData): boolean {
    if (this.#options.areReplicasAwaited) return false;
    for (const [shard, { former }] of this.#splits) {
      if (data === former.data || data === this.current[shard]!.data) return true;
    }
    return false;
  }

  /** Whether its hours are those of a present master. */
  isCurrent(data: HotData): boolean {
    return this.current.some((server) => server.data === data);
  }
}

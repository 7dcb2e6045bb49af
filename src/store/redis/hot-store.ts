/**
 * The hot store of one shard on Redis. Every change is one Lua script, so it is atomic and needs one round trip.
 * keys.ts lists the keys.
 *
 * Invariant: a script leaves a correct state wherever it ends. It cannot be rolled back, and in a cluster it may end
 * early: while the slot is moved, a server starts a script only if it has all keys that the script names, but ends it
 * at a computed key that has gone. Each script says why that does no harm. Scripts are sent only to the owner of the
 * slot: the server that is importing it would treat a key that has not arrived as missing.
 */
import {
  type Batch,
  encodeBatch,
  type Group,
  type HourKey,
  hourKeyName,
  type JournaledBatch,
  ordinalsIn,
  readEntry,
} from "../../domain/event.ts";
import { ID_TTL_MS } from "../../domain/event-ids.ts";
import type { HourRange, HourRecord, HourTotals } from "../../domain/hour-range.ts";
import { Sketch, UserSketches } from "../../domain/unique-users/sketch.ts";
import { elementOf } from "../../domain/unique-users/user-hash.ts";
import type { DataSet } from "../cold.ts";
import {
  type CommitResult,
  ENDED_WRITER_KNOWN_MS,
  type EndedWriter,
  type HotStore,
  HotUnavailableError,
  type HourRead,
  type Initialization,
  type JournalOwner,
  type LeaseState,
  type RestoreState,
  type StoredId,
} from "../hot.ts";
import { DamagedSketchError, mend, mendAfter } from "./changed-keys.ts";
import { durabilityWarnings, type NodeSettings, readNodeSettings } from "./durability.ts";
import { type Keys, keysOf } from "./keys.ts";
import {
  type AskServer,
  flag,
  integer,
  integerText,
  isReply,
  list,
  OtherDataError,
  type OwnData,
  RedisLink,
  type RedisLinkOptions,
  type RunScript,
  script,
  text,
  unexpected,
} from "./link.ts";
import { type RunSlice, readHeldRange } from "./ranges.ts";
import commitSource from "./scripts/commit.lua" with { type: "text" };
import dataSetSource from "./scripts/data-set.lua" with { type: "text" };
import discardSource from "./scripts/discard.lua" with { type: "text" };
import dropHours from "./scripts/hours/drop-hours.lua" with { type: "text" };
import hydrateSource from "./scripts/hours/hydrate.lua" with { type: "text" };
import rangeSource from "./scripts/hours/range.lua" with { type: "text" };
import readSource from "./scripts/hours/read.lua" with { type: "text" };
import retireSource from "./scripts/hours/retire.lua" with { type: "text" };
import forgetIdsSource from "./scripts/ids/forget-ids.lua" with { type: "text" };
import noteIdsSource from "./scripts/ids/note-ids.lua" with { type: "text" };
import restoreIdsSource from "./scripts/ids/restore-ids.lua" with { type: "text" };
import initializeSource from "./scripts/initialize.lua" with { type: "text" };
import isInitializedSource from "./scripts/is-initialized.lua" with { type: "text" };
import journalSource from "./scripts/journal/read-journal.lua" with { type: "text" };
import trimSource from "./scripts/journal/trim-journal.lua" with { type: "text" };
import storedSource from "./scripts/stored.lua" with { type: "text" };
import trialSource from "./scripts/trial.lua" with { type: "text" };
import abandonSource from "./scripts/writers/abandon.lua" with { type: "text" };
import fenceSource from "./scripts/writers/fence.lua" with { type: "text" };
import leaseSource from "./scripts/writers/lease.lua" with { type: "text" };
import leaseRule from "./scripts/writers/lease-rule.lua" with { type: "text" };
import ownersSource from "./scripts/writers/owners.lua" with { type: "text" };
import registerSource from "./scripts/writers/register.lua" with { type: "text" };
import removeSource from "./scripts/writers/remove.lua" with { type: "text" };
import requireSource from "./scripts/writers/require-writers.lua" with { type: "text" };

const SCRIPTS = {
  commit: script("commit", commitSource),
  read: script("read", readSource),
  range: script("range", rangeSource),
  hydrate: script("hydrate", hydrateSource),
  retire: script("retire", dropHours + retireSource),
  isInitialized: script("isInitialized", isInitializedSource),
  dataSet: script("dataSet", dataSetSource, false),
  discard: script("discard", dropHours + discardSource),
  trial: script("trial", trialSource),
  restoreIds: script("restoreIds", leaseRule + restoreIdsSource),
  noteIds: script("noteIds", noteIdsSource),
  forgetIds: script("forgetIds", forgetIdsSource),
  stored: script("stored", storedSource),
  initialize: script("initialize", initializeSource),
  abandon: script("abandon", abandonSource),
  register: script("register", leaseRule + registerSource),
  lease: script("lease", leaseRule + leaseSource),
  journal: script("journal", journalSource),
  trim: script("trim", trimSource),
  owners: script("owners", leaseRule + ownersSource),
  fence: script("fence", leaseRule + fenceSource),
  remove: script("remove", removeSource),
  require: script("require", requireSource),
};

/** A restorer of ids that is silent for this long has ended. */
const RESTORER_LEASE_MS = 15_000;
/** Batches in a slice, if they are small; fewer if they are large, so that Redis is busy for a few ms at most. */
const JOURNAL_SLICE_ENTRIES = 100;
/** Hours retired by one script: about 10 µs each, so Redis is never busy for more than a few ms. */
const RETIRE_LIMIT = 200;
/** Hours whose users are mirrored, over all shards: two sketches of at most 16 KB. When full, all are dropped. */
const MIRROR_LIMIT = 2_000;

export interface RedisHotStoreOptions
  extends Pick<RedisLinkOptions, "url" | "ca" | "commandTimeoutMs" | "waitReplicas"> {
  readonly leaseMs: number;
  /** The shard's number, from 0 (the default), and the number of shards (default 1). */
  readonly shard?: number | undefined;
  readonly shards?: number | undefined;
  /** Warns also of what only a crash of Redis' host loses. */
  readonly isDurabilityStrict?: boolean | undefined;
  /** Called with the warnings of a server that took over, and is refused because of them. */
  readonly onRefusedServer?: ((warnings: readonly string[]) => void) | undefined;
}

/** The known content of an hour's sketches. */
interface Mirror {
  /** From hourKeyName(). */
  readonly name: string;
  /** From Keys.hour(). */
  readonly keys: readonly [string, string, string];
  readonly viewers: Sketch;
  readonly clickers: Sketch;
}

export class RedisHotStore implements HotStore {
  readonly isShared = true;
  readonly name = "Redis";
  readonly description: string;
  readonly #link: RedisLink;
  readonly #leaseMs: number;
  readonly #keys: Keys;
  readonly #ownData: OwnData;
  readonly #shards: number;
  readonly #isDurabilityStrict: boolean;
  readonly #onRefusedServer: (warnings: readonly string[]) => void;
  /** Set once a server was found to lose nothing: no other is accepted any more. */
  #mustBeDurable = false;
  /**
   * What each hour's sketches in Redis are known to hold at least. A user who raises none of these registers need not
   * be sent. This is wrong only if Redis has lost data, so it is dropped at every doubt.
   */
  readonly #mirrors = new Map<string, Mirror>();
  /** What Redis must still know after a reconnect: the present writer and its last batch. */
  #acknowledged = { writer: "", seq: 0 };
  /** By what the server said when this connection was new. Reads know nothing then, until the next writer is here. */
  #isWriterLost = false;
  /** The epoch in which the data set said that it knows all ids: it must not lose them within that epoch. */
  #idsKnownIn: number | undefined;

  constructor(options: RedisHotStoreOptions) {
    this.#leaseMs = options.leaseMs;
    this.#keys = keysOf(options.shard ?? 0);
    this.#ownData = { key: this.#keys.dataSet, identity: "" };
    this.#shards = options.shards ?? 1;
    this.#isDurabilityStrict = options.isDurabilityStrict ?? false;
    this.#onRefusedServer = options.onRefusedServer ?? (() => {});
    this.#link = new RedisLink({
      ...options,
      slotKey: this.#keys.prefix,
      ownData: this.#ownData,
      onFailure: (error, keys, run) => mendAfter(error, keys, this.#keys, run),
      onConnect: async (run, ask) => {
        if (this.#mustBeDurable) await this.#ownWarnings(ask);
        await this.#findLosses(run);
      },
      onDrop: () => this.#mirrors.clear(),
    });
    this.description = this.#link.description;
  }

  get isReady(): boolean {
    return this.#link.isReady;
  }

  get connections(): number {
    return this.#link.connections;
  }

  /**
   * Called before anything is read over a new connection. A server that has lost batches which it had acknowledged (a
   * crash of its host, a failover) has incomplete hours. So has what another process makes of it then: it lacks batches
   * that this one has to commit again under its next writer.
   */
  async #findLosses(run: RunScript): Promise<void> {
    const { writer, seq } = this.#acknowledged;
    this.#isWriterLost = writer !== "" && !(await this.#renewLease(run, writer, seq));
  }

  /** A server that took over, was started again or set otherwise is refused if it must not be lossy. */
  async #ownWarnings(ask: AskServer): Promise<readonly string[]> {
    const warnings = await unlessForbidden(ask("INFO", readNodeSettings).then((found) => this.#warningsOf(found)));
    if (!this.#mustBeDurable || warnings.length === 0) return warnings;
    this.#onRefusedServer(warnings);
    const error = new HotUnavailableError(`STRICT_DURABILITY is 1, but: ${warnings.join(" ")}`, false);
    this.#link.leave(error);
    throw error;
  }

  async open(): Promise<readonly string[]> {
    if (!this.#link.isReady) await this.#link.connect();
    const own = await this.#ownWarnings(this.#link.ask);
    const warnings = [...new Set([...own, ...(await unlessForbidden(this.#replicaWarnings()))])];
    // Whoever opens it first decides what to do about them.
    if (this.#isDurabilityStrict && warnings.length === 0) this.#mustBeDurable = true;
    return warnings;
  }

  async #replicaWarnings(): Promise<readonly string[]> {
    const replicas = await this.#link.askReplicas("INFO", readNodeSettings);
    return replicas.flatMap(({ node, answer }) => this.#warningsOf(answer, `The replica ${node}`));
  }

  #warningsOf(settings: NodeSettings, who = "Redis"): string[] {
    return durabilityWarnings(who, settings, this.#isDurabilityStrict);
  }

  async initialization(): Promise<RedisInitialization | undefined> {
    const { meta, idsThrough } = this.#keys;
    const found = await this.#link.run(SCRIPTS.isInitialized, [meta, idsThrough], [], initialization);
    if (found?.areIdsKnown) this.#idsKnownIn = found.epoch;
    return found;
  }

  async initialize(freshFrom: number, epoch = 0, areIdsKnown = true, storedEvents = 0): Promise<boolean> {
    this.#mirrors.clear();
    const { meta, hours, writers, stored } = this.#keys;
    for (;;) {
      await this.discard(epoch - 1);
      const args = [freshFrom, this.#shards, epoch, areIdsKnown ? 1 : 0, storedEvents].map(String);
      const answer = await this.#link.run(SCRIPTS.initialize, [meta, hours, writers, stored], args, integer);
      if (answer !== 0) return answer === 1;
    }
  }

  async discard(epoch: number): Promise<void> {
    const { prefix, meta, hours, writers, trial } = this.#keys;
    const args = [epoch, prefix, RETIRE_LIMIT].map(String);
    while (!(await this.#link.run(SCRIPTS.discard, [meta, hours, writers], args, flag)));
    await this.#link.run(SCRIPTS.trial, [trial], [], flag);
  }

  async requireWriters(epoch: number, seqs: ReadonlyMap<string, number>): Promise<boolean> {
    const keys = [this.#keys.meta, ...Array.from(seqs.keys(), (writer) => this.#keys.writer + writer)];
    return await this.#link.run(SCRIPTS.require, keys, [epoch, ...seqs.values()].map(String), flag);
  }

  async storedEvents(): Promise<number> {
    const { prefix, stored, writers } = this.#keys;
    return await this.#link.run(SCRIPTS.stored, [stored, writers], [prefix], integerText);
  }

  async forgetIds(): Promise<void> {
    const { prefix, meta, idsThrough } = this.#keys;
    let cursor = "0";
    do cursor = await this.#link.run(SCRIPTS.forgetIds, [meta, idsThrough], [prefix, cursor], text);
    while (cursor !== "0");
  }

  async dataSet(offered?: DataSet): Promise<DataSet | undefined> {
    const args = offered === undefined ? [] : [offered.identity, Buffer.from(offered.userKey).toString("hex")];
    return await this.#link.run(SCRIPTS.dataSet, [this.#keys.dataSet], args, dataSet);
  }

  async bind(identity: string): Promise<void> {
    this.#ownData.identity = identity;
  }

  async restoreIds(epoch: number, restorer: string, ids: readonly StoredId[]): Promise<RestoreState> {
    const keys = [this.#keys.meta, ...ids.map(({ stream, id }) => this.#keys.id(stream, id))];
    const args = [String(epoch), restorer, String(RESTORER_LEASE_MS), ...ids.map(({ ttlMs }) => String(ttlMs))];
    const answer = await this.#link.run(SCRIPTS.restoreIds, keys, args, integer);
    if (answer === 1) return "restored";
    return answer === 0 ? "taken" : "lost";
  }

  async noteIds(epoch: number, throughMs: number, restorer = ""): Promise<boolean> {
    const { meta, idsThrough } = this.#keys;
    const args = [String(epoch), String(throughMs), restorer];
    const areKnown = await this.#link.run(SCRIPTS.noteIds, [meta, idsThrough], args, flag);
    if (areKnown) this.#idsKnownIn = epoch;
    return areKnown;
  }

  async retirementMark(): Promise<number> {
    const initialized = await this.initialization();
    if (initialized === undefined) throw uninitialized("hydrate");
    return initialized.mark;
  }

  async register(writer: string, epoch = 0): Promise<boolean> {
    this.#mirrors.clear();
    const { meta, writers } = this.#keys;
    const keys = [meta, writers, this.#keys.writer + writer];
    const args = [writer, String(this.#leaseMs), String(this.#shards), String(epoch)];
    const answer = await this.#link.run(SCRIPTS.register, keys, args, integer);
    if (answer < 0) throw otherShards(-answer, this.#shards);
    if (answer !== 1) return false;
    this.#acknowledged = { writer, seq: 0 };
    this.#isWriterLost = false;
    return true;
  }

  async renewLease(writer: string, committedSeq: number): Promise<LeaseState> {
    const isHeld = await this.#renewLease(this.#link.run, writer, committedSeq);
    return isHeld ? "held" : "lost";
  }

  async #renewLease(run: RunScript, writer: string, seq: number): Promise<boolean> {
    const keys = [this.#keys.writer + writer, this.#keys.meta];
    const args = [this.#leaseMs, seq, this.#idsKnownIn ?? "", this.#keys.prefix, writer].map(String);
    return await unlessOther(run(SCRIPTS.lease, keys, args, flag), false);
  }

  async abandon(writer: string): Promise<EndedWriter | undefined> {
    const keys = [this.#keys.writer + writer];
    return await unlessOther(this.#link.runOnReplicas(SCRIPTS.abandon, keys, [], endedWriter), undefined);
  }

  async commit(writer: string, seq: number, batch: Batch): Promise<CommitResult> {
    const { meta, hours } = this.#keys;
    const keys = [this.#keys.writer + writer, this.#keys.journal + writer, meta, hours];
    const idKeys: string[] = [];
    const groups: PackedGroup[] = [];
    let ordinal = 0;
    for (const group of batch.groups) {
      const mirror = this.#mirrorOf(group);
      const [counts, viewers, clickers] = mirror.keys;
      keys.push(counts, viewers, clickers);
      if (group.ids === null) groups.push(packPlainEvents(group, mirror));
      else groups.push(this.#packEventsWithIds(group, mirror, ordinal, idKeys));
      ordinal += group.users.length;
    }
    const args = [writer, String(seq), encodeBatch(batch), String(ID_TTL_MS), JSON.stringify(groups)];
    for (const key of idKeys) keys.push(key);
    try {
      const running = this.#link.runOnReplicas(SCRIPTS.commit, keys, args, commitResult);
      const result = await unlessOther(running, { status: "unknown" });
      if (result.status === "committed") this.#acknowledged = { writer, seq };
      else this.#mirrors.clear();
      return result;
    } catch (error) {
      this.#mirrors.clear();
      throw error;
    }
  }

  #mirrorOf(group: Group): Mirror {
    const name = hourKeyName(group.stream, group.hour);
    let mirror = this.#mirrors.get(name);
    if (mirror === undefined) {
      if (this.#mirrors.size >= MIRROR_LIMIT / this.#shards) this.#mirrors.clear();
      mirror = { name, keys: this.#keys.hour(group), viewers: new Sketch(), clickers: new Sketch() };
      this.#mirrors.set(name, mirror);
    }
    return mirror;
  }

  /** Packs a group with ids: the script counts each of those events if its id is new. */
  #packEventsWithIds(group: Group, mirror: Mirror, firstOrdinal: number, idKeys: string[]): PackedGroup {
    const { stream, hour, registers, clickFlags } = group;
    const ids = group.ids!;
    const counts = { viewers: 0, clickers: 0 };
    const elements = { viewers: "", clickers: "" };
    const withIds: (string | number)[] = [];
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i]!;
      const [register, kind] = [registers[i]!, clickFlags[i]! ? "clickers" : "viewers"] as const;
      if (id !== null) {
        idKeys.push(this.#keys.id(stream, id));
        const isHeld = mirror[kind].register(register >>> 6) >= (register & 63);
        const element = isHeld ? "" : elementText(register);
        withIds.push(clickFlags[i]! ? "c" : "i", element, firstOrdinal + i);
      } else {
        counts[kind] += 1;
        if (mirror[kind].add(register)) elements[kind] += elementText(register);
      }
    }
    const { viewers, clickers } = elements;
    return [mirror.name, hour, counts.clickers, counts.viewers, viewers, clickers, withIds];
  }

  async read(keys: readonly HourKey[]): Promise<readonly HourRead[] | "uninitialized"> {
    if (this.#isWriterLost) return "uninitialized";
    const redisKeys = [this.#keys.meta, this.#keys.hours];
    const args = [String(this.#shards)];
    for (const key of keys) {
      redisKeys.push(...this.#keys.hour(key));
      args.push(hourKeyName(key.stream, key.hour));
    }
    return await this.#link.run(SCRIPTS.read, redisKeys, args, (answer) => {
      if (answer === null) return "uninitialized";
      const reads = list(answer).map(hourRead);
      if (reads.length !== keys.length) throw unexpected(answer, `${keys.length} hours`);
      return reads;
    });
  }

  async readRange(range: HourRange, visit: (hour: HourRecord) => void): Promise<number | "uninitialized"> {
    if (this.#isWriterLost) return "uninitialized";
    const { prefix, meta, hours } = this.#keys;
    const runSlice: RunSlice = (args, read) => {
      const all = [prefix, ...args, String(this.#shards)];
      return this.#link.runForBytes(SCRIPTS.range, [meta, hours], all, read);
    };
    try {
      return await readHeldRange(runSlice, range, visit);
    } catch (error) {
      if (error instanceof DamagedSketchError) await mend([meta, hours], this.#keys, this.#link.run);
      throw error;
    }
  }

  async hydrate(key: HourKey, cold: HourTotals | undefined, retirementMark: number): Promise<boolean> {
    const keys = [this.#keys.meta, this.#keys.hours, ...this.#keys.hour(key)];
    const { viewers, clickers } = (cold?.users ?? new UserSketches()).encode();
    const args = [
      hourKeyName(key.stream, key.hour),
      String(key.hour),
      String(retirementMark),
      String(cold?.clicks ?? 0),
      String(cold?.impressions ?? 0),
      viewers,
      clickers,
    ];
    const answer = await this.#link.run(SCRIPTS.hydrate, keys, args, integer);
    if (answer === -1) throw uninitialized("hydrate");
    return answer === 1;
  }

  async retire(beforeHour: number): Promise<number> {
    const { prefix, meta, hours } = this.#keys;
    const args = [prefix, String(beforeHour), String(RETIRE_LIMIT)];
    return await this.#link.run(SCRIPTS.retire, [meta, hours], args, integer);
  }

  async retireHour({ stream, hour }: HourKey): Promise<boolean> {
    const { prefix, meta, hours } = this.#keys;
    const args = [prefix, "0", "1", hourKeyName(stream, hour)];
    return await this.#link.run(SCRIPTS.retire, [meta, hours], args, flag);
  }

  async readJournal(writer: string, afterSeq: number, maxEvents: number): Promise<readonly JournaledBatch[]> {
    const batches: JournaledBatch[] = [];
    let eventCount = 0;
    let from = afterSeq;
    const keys = [this.#keys.journal + writer];
    while (eventCount < maxEvents) {
      const args = [from + 1, JOURNAL_SLICE_ENTRIES, maxEvents - eventCount].map(String);
      const entries = await this.#link.run(SCRIPTS.journal, keys, args, journalEntries);
      for (const { seq, body, duplicates } of entries) {
        const batch = readEntry(seq, body, ordinalsIn(duplicates));
        batches.push(batch);
        eventCount += batch.eventCount;
        from = batch.seq;
        if (eventCount >= maxEvents) break;
      }
      if (entries.length === 0) break;
    }
    return batches;
  }

  async trimJournal(writer: string, throughSeq: number, storedEvents = 0): Promise<void> {
    const keys = [this.#keys.writer + writer, this.#keys.journal + writer];
    await this.#link.run(SCRIPTS.trim, keys, [String(throughSeq), String(storedEvents)], flag);
  }

  async journalOwners(): Promise<readonly JournalOwner[]> {
    const { prefix, meta, writers } = this.#keys;
    return await this.#link.run(SCRIPTS.owners, [writers, meta], [prefix], journalOwners);
  }

  async fence(writer: string): Promise<boolean> {
    const keys = [this.#keys.writer + writer, this.#keys.meta];
    return await this.#link.runOnReplicas(SCRIPTS.fence, keys, [], flag);
  }

  async removeJournal(writer: string, watermark: number): Promise<void> {
    const { writers, meta, stored } = this.#keys;
    const keys = [writers, this.#keys.writer + writer, this.#keys.journal + writer, meta, stored];
    const args = [writer, String(ENDED_WRITER_KNOWN_MS), String(watermark)];
    await unlessOther(this.#link.run(SCRIPTS.remove, keys, args, flag), false);
  }

  async close(): Promise<void> {
    await this.#link.close();
  }
}

/** In the data of another database, a writer of this process is unknown. */
async function unlessOther<T>(work: Promise<T>, instead: T): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof OtherDataError) return instead;
    throw error;
  }
}

const NO_INFO =
  "Redis does not let this user read INFO, so its 'appendonly' and 'maxmemory-policy' are unchecked. Allow +info, " +
  "or make sure that they are 'yes' and 'noeviction'.";

async function unlessForbidden(warnings: Promise<readonly string[]>): Promise<readonly string[]> {
  try {
    return await warnings;
  } catch (error) {
    if (isReply(error, /^NOPERM/)) return [NO_INFO];
    throw error;
  }
}

/** The format is described in commit.lua. */
type PackedGroup = readonly [
  ...[name: string, hour: number, clicks: number, impressions: number],
  ...[viewers: string, clickers: string, withIds: readonly (string | number)[]],
];

const NO_IDS: readonly [] = [];

/** Written in hex: a command without Buffers goes to the socket in one piece, and each Buffer adds two more. */
function elementText(register: number): string {
  return elementOf(register).toString("hex");
}

function packPlainEvents(group: Group, { name, viewers, clickers }: Mirror): PackedGroup {
  const { hour, clicks, impressions } = group;
  const users = [unheldElements(group, false, viewers), unheldElements(group, true, clickers)] as const;
  return [name, hour, clicks, impressions, ...users, NO_IDS];
}

/** One element for each register of one kind that the sketch in Redis is not known to hold. */
function unheldElements({ clicks, impressions, registers, clickFlags }: Group, areClickers: boolean, mirror: Sketch) {
  let elements = "";
  if ((areClickers ? clicks : impressions) === 0) return elements;
  for (let i = 0; i < registers.length; i++) {
    if (clickFlags[i] === areClickers && mirror.add(registers[i]!)) elements += elementText(registers[i]!);
  }
  return elements;
}

function journalEntries(answer: unknown) {
  return list(answer).map((entry) => {
    const [seq, body, duplicates] = list(entry);
    return { seq: Number(text(seq)), body: text(body), duplicates: text(duplicates) };
  });
}

interface RedisInitialization extends Initialization {
  readonly mark: number;
}

function initialization(answer: unknown): RedisInitialization | undefined {
  if (answer === null) return undefined;
  const [mark, msAgo, epoch, areIdsKnown, idsThrough] = list(answer);
  return {
    ...{ mark: integerText(mark), msAgo: integer(msAgo), epoch: integerText(epoch) },
    ...{ areIdsKnown: flag(areIdsKnown), idsThroughMs: integerText(idsThrough) },
  };
}

function dataSet(answer: unknown): DataSet | undefined {
  const [identity, userKey] = list(answer);
  if (identity === null || userKey === null) return undefined;
  return { identity: text(identity), userKey: Uint8Array.from(Buffer.from(text(userKey), "hex")) };
}

function endedWriter(answer: unknown): EndedWriter | undefined {
  if (answer === null) return undefined;
  const [lastSeq, acceptedEvents] = list(answer);
  return { lastSeq: integer(lastSeq), acceptedEvents: integer(acceptedEvents) };
}

const OWNER_PARTS = 3;

function journalOwners(answer: unknown): JournalOwner[] {
  const parts = list(answer);
  if (parts.length % OWNER_PARTS !== 0) throw unexpected(answer, "a writer, 0 or 1 and a number, and so on");
  return Array.from({ length: parts.length / OWNER_PARTS }, (_, i) => {
    const [writer, isAdoptable, events] = parts.slice(i * OWNER_PARTS, (i + 1) * OWNER_PARTS);
    return { writer: text(writer), adoptable: flag(isAdoptable), acceptedEvents: integer(events) };
  });
}

function commitResult(answer: unknown): CommitResult {
  const [status, detail] = list(answer);
  switch (status) {
    case "committed":
      return { status, duplicates: ordinalsIn(text(detail)) };
    case "absent":
      return { status, groups: list(detail).map(integer) };
    case "fenced":
    case "uninitialized":
    case "unknown":
      return { status };
    default:
      throw unexpected(answer, "the outcome of a commit");
  }
}

function hourRead(answer: unknown): HourRead {
  if (answer === 0) return { status: "empty" };
  if (answer === -1) return { status: "absent" };
  const [clicks, impressions, uniqueUsers] = list(answer).map(integer);
  if (uniqueUsers === undefined) throw unexpected(answer, "clicks, impressions and users");
  return { status: "present", counts: { clicks: clicks!, impressions: impressions!, uniqueUsers } };
}

function otherShards(found: number, expected: number): HotUnavailableError {
  const message =
    `Redis holds data of ${found} shards, REDIS_SHARDS is ${expected}: set REDIS_SHARDS=${found}, or take an empty ` +
    "Redis, and an empty database";
  return new HotUnavailableError(message, false);
}

function uninitialized(what: string): HotUnavailableError {
  return new HotUnavailableError(`Redis could not do '${what}': its data set is new, and is being set up`, false);
}

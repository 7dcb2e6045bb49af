/**
 * An event, the hour it is counted in, and the events of one commit: a batch. Times are integers: milliseconds since
 * the epoch (UTC).
 *
 * A batch is grouped by stream and hour, the unit in which events are counted, journaled and flushed. Its events are
 * stored column-wise: an event costs no object of its own.
 *
 * Invariants:
 * - An hour is half-open, [hour, hour + HOUR_MS), and `hour` is a multiple of HOUR_MS.
 * - Once a batch is sealed, the order of its groups and of the events in them never changes. An event's ordinal (its
 *   position, group after group) identifies it in memory, in the journal and in `events`.
 *
 * Journal entry, version 1 (JSON: both ends parse it natively, and `redis-cli` shows it readably):
 *   {"v":1,"n":events,"g":[[stream, hour, kinds, offsets, users, ids, registers], …]}
 * n: the number of events, readable without parsing the rest; kinds: one character per event, "c" or "i"; offsets:
 * `at - hour`; ids: null, or an array of id-or-null; registers: REGISTER_CHARS characters per event, so that only the
 * process that took the event hashes its user.
 */
import type { UserHash } from "./unique-users/user-hash.ts";

export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;

export type Kind = "click" | "impression";

export interface Event {
  readonly stream: string;
  readonly at: number;
  readonly kind: Kind;
  readonly user: string;
  /** Idempotency key: an id counts once per stream within `ID_TTL_MS` (event-ids.ts). */
  readonly id?: string | undefined;
}

export interface HourKey {
  readonly stream: string;
  readonly hour: number;
}

export interface HourCounts {
  readonly clicks: number;
  readonly impressions: number;
  readonly uniqueUsers: number;
}

export function hourOf(at: number): number {
  return at - (at % HOUR_MS);
}

/** A key for maps. Stream names contain no space, so keys are unique. */
export function hourKeyName(stream: string, hour: number): string {
  return `${hour} ${stream}`;
}

/** The events of one stream and hour within a batch. All arrays have one element per event. */
export interface Group {
  readonly stream: string;
  readonly hour: number;
  clicks: number;
  impressions: number;
  readonly ats: number[];
  readonly clickFlags: boolean[];
  readonly users: string[];
  /** The sketch register that each user raises. The latest events may lack theirs until hashUsers(). */
  readonly registers: number[];
  /** Null while no event of the group has an id: the common case. */
  ids: (string | null)[] | null;
}

export interface Batch {
  readonly groups: readonly Group[];
  readonly eventCount: number;
}

/** A batch with the number its writer gave it. (writer, seq) identifies it permanently. */
export interface JournaledBatch extends Batch {
  readonly seq: number;
}

export function countEvents(batches: readonly Batch[]): number {
  let sum = 0;
  for (const { eventCount } of batches) sum += eventCount;
  return sum;
}

export function hasIds({ groups }: Batch): boolean {
  return groups.some(({ ids }) => ids !== null);
}

function emptyGroup(stream: string, hour: number): Group {
  return {
    stream,
    hour,
    clicks: 0,
    impressions: 0,
    ats: [],
    clickFlags: [],
    users: [],
    registers: [],
    ids: null,
  };
}

function pushEvent(group: Group, at: number, isClick: boolean, user: string, id: string | null): void {
  if (isClick) group.clicks += 1;
  else group.impressions += 1;
  if (id !== null && group.ids === null) group.ids = new Array(group.users.length).fill(null);
  group.ats.push(at);
  group.clickFlags.push(isClick);
  group.users.push(user);
  group.ids?.push(id);
}

function copyEvent(target: Group, from: Group, i: number): void {
  const id = from.ids?.[i] ?? null;
  pushEvent(target, from.ats[i]!, from.clickFlags[i]!, from.users[i]!, id);
}

/** Completes `registers`. Call it before the batch is encoded. */
export function hashUsers(batch: Batch, hash: UserHash): void {
  for (const { users, registers } of batch.groups) {
    for (let i = registers.length; i < users.length; i++) registers.push(hash.registerOf(users[i]!));
  }
}

/** Collects events until it is encoded, which seals it. */
export class BatchBuilder implements Batch {
  readonly groups: Group[] = [];
  eventCount = 0;
  #body: string | undefined;
  readonly #groupsByName = new Map<string, Group>();
  #last: Group | undefined;

  /** Returns the group that the event was added to. */
  add(event: Event): Group {
    const group = this.#groupOf(event.stream, hourOf(event.at));
    pushEvent(group, event.at, event.kind === "click", event.user, event.id ?? null);
    this.eventCount += 1;
    return group;
  }

  /** Moves a group of another, uncommitted batch here; returns the group that now holds its events. */
  addGroup(group: Group): Group {
    const target = this.#groupOf(group.stream, group.hour);
    for (let i = 0; i < group.users.length; i++) copyEvent(target, group, i);
    this.eventCount += group.users.length;
    return target;
  }

  /** Encoded once, for both the journal and the flusher. */
  get body(): string {
    this.#body ??= encodeGroups(this.groups);
    return this.#body;
  }

  /** 95 % of events have the stream and hour of the event before, so compare these before building a key. */
  #groupOf(stream: string, hour: number): Group {
    if (this.#body !== undefined) throw new Error("Cannot add to a batch that is encoded: it may be in flight");
    const last = this.#last;
    if (last !== undefined && last.hour === hour && last.stream === stream) return last;
    const name = hourKeyName(stream, hour);
    let group = this.#groupsByName.get(name);
    if (group === undefined) {
      group = emptyGroup(stream, hour);
      this.#groupsByName.set(name, group);
      this.groups.push(group);
    }
    this.#last = group;
    return group;
  }
}

type EncodedGroup = [string, number, string, number[], string[], (string | null)[] | null, string];

/** A register has 20 bits, a character 5. */
const REGISTER_CHARS = 4;
/** "0" to "O": JSON escapes none of these characters. */
const FIRST_CHAR = 48;
const CLICK_CHAR = 99;
const IMPRESSION_CHAR = 105;

/**
 * A committed batch in the backlog, without duplicates, as one text: as objects, the garbage collector would walk
 * several per event.
 */
export class PackedBatch implements JournaledBatch {
  readonly seq: number;
  readonly eventCount: number;
  readonly body: string;

  constructor(seq: number, eventCount: number, body: string) {
    this.seq = seq;
    this.eventCount = eventCount;
    this.body = body;
  }

  /** `duplicates`: see withoutDuplicates(). */
  static of(seq: number, batch: Batch, duplicates: readonly number[]): PackedBatch {
    const counted = duplicates.length === 0 ? batch : withoutDuplicates(seq, batch, duplicates);
    return new PackedBatch(seq, counted.eventCount, encodeBatch(counted));
  }

  get groups(): readonly Group[] {
    return decodeBatch(this.seq, this.body, []).groups;
  }
}

/** `text`: comma-separated, as journals have the duplicates of a batch. */
export function ordinalsIn(text: string): number[] {
  return text === "" ? [] : text.split(",").map(Number);
}

const ENTRY_START = /^\{"v":1,"n":(\d+),/;

/**
 * Reads a journal entry, without the events that its commit found to be duplicates. An entry without duplicates is not
 * parsed: the flush passes its text on, which saves the event loop 0.5 µs per event. Throws like decodeBatch().
 */
export function readEntry(seq: number, body: string, duplicates: readonly number[]): JournaledBatch {
  const eventCount = duplicates.length === 0 ? ENTRY_START.exec(body)?.[1] : undefined;
  return eventCount === undefined ? decodeBatch(seq, body, duplicates) : new PackedBatch(seq, Number(eventCount), body);
}

export function encodeBatch(batch: Batch): string {
  const hasBody = batch instanceof BatchBuilder || batch instanceof PackedBatch;
  return hasBody ? batch.body : encodeGroups(batch.groups);
}

function encodeGroups(all: readonly Group[]): string {
  let eventCount = 0;
  const groups = all.map((group): EncodedGroup => {
    if (group.registers.length !== group.users.length)
      throw new Error(`Cannot encode a batch whose users are not hashed: ${group.users.length} in one group`);
    eventCount += group.users.length;
    const offsets = group.ats.map((at) => at - group.hour);
    const { stream, hour, clickFlags, users, ids, registers } = group;
    return [stream, hour, kindsText(clickFlags), offsets, users, ids, registersText(registers)];
  });
  return JSON.stringify({ v: 1, n: eventCount, g: groups });
}

/** Scratch space for building texts: `+=` would leave a string behind for each character. */
let characters = Buffer.alloc(16_384);

function charactersFor(length: number): Buffer {
  if (characters.length < length) characters = Buffer.alloc(length * 2);
  return characters;
}

function kindsText(clickFlags: readonly boolean[]): string {
  const { length } = clickFlags;
  const codes = charactersFor(length);
  for (let i = 0; i < length; i++) codes[i] = clickFlags[i]! ? CLICK_CHAR : IMPRESSION_CHAR;
  return codes.toString("latin1", 0, length);
}

function registersText(registers: readonly number[]): string {
  const length = registers.length * REGISTER_CHARS;
  const codes = charactersFor(length);
  for (let i = 0, at = 0; i < registers.length; i++, at += REGISTER_CHARS) {
    const register = registers[i]!;
    codes[at] = FIRST_CHAR + (register >>> 15);
    codes[at + 1] = FIRST_CHAR + ((register >>> 10) & 31);
    codes[at + 2] = FIRST_CHAR + ((register >>> 5) & 31);
    codes[at + 3] = FIRST_CHAR + (register & 31);
  }
  return codes.toString("latin1", 0, length);
}

function registerIn(text: string, i: number): number {
  let register = 0;
  const end = (i + 1) * REGISTER_CHARS;
  for (let at = end - REGISTER_CHARS; at < end; at++) register = register * 32 + text.charCodeAt(at) - FIRST_CHAR;
  return register;
}

/**
 * Parses a journal entry, without the events that its commit found to be duplicates. Throws if this build does not know
 * the entry's version.
 */
export function decodeBatch(seq: number, body: string, duplicates: readonly number[]): JournaledBatch {
  const entry = JSON.parse(body) as { v: number; g: EncodedGroup[] };
  if (entry.v !== 1) {
    throw new Error(`Cannot read journal entry ${seq}: its version is ${entry.v}, this build reads version 1`);
  }
  const groups = entry.g.map(([stream, hour, kinds, offsets, users, ids, registers]) => {
    const group = emptyGroup(stream, hour);
    for (let i = 0; i < users.length; i++) {
      pushEvent(group, hour + offsets[i]!, kinds[i] === "c", users[i]!, ids?.[i] ?? null);
      group.registers.push(registerIn(registers, i));
    }
    return group;
  });
  const eventCount = groups.reduce((sum, group) => sum + group.users.length, 0);
  return withoutDuplicates(seq, { groups, eventCount }, duplicates);
}

/** `duplicates`: ascending ordinals of the events that were not counted. */
export function withoutDuplicates(seq: number, batch: Batch, duplicates: readonly number[]): JournaledBatch {
  if (duplicates.length === 0) return { seq, groups: batch.groups, eventCount: batch.eventCount };
  const dropped = new Set(duplicates);
  let ordinal = 0;
  const groups: Group[] = [];
  for (const group of batch.groups) {
    const kept = emptyGroup(group.stream, group.hour);
    for (let i = 0; i < group.users.length; i++, ordinal++) {
      if (dropped.has(ordinal)) continue;
      copyEvent(kept, group, i);
      kept.registers.push(group.registers[i]!);
    }
    if (kept.users.length > 0) groups.push(kept);
  }
  return { seq, groups, eventCount: batch.eventCount - dropped.size };
}

/** May be called only for a batch that is known not to be committed. */
export function withoutGroups(batch: Batch, positions: ReadonlySet<number>): Batch {
  const groups = batch.groups.filter((_, position) => !positions.has(position));
  return { groups, eventCount: groups.reduce((sum, group) => sum + group.users.length, 0) };
}

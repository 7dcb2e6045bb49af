/**
 * The events of a run: the answers to their senders, and how often each was counted.
 *
 * Invariants, checked at the moment at which they would break: an event is at most one row. An event that was refused
 * every time it was sent is not counted. None is acknowledged before it is in a journal or a row.
 */
import { type Event, type HourKey, hourKeyName, hourOf, type JournaledBatch } from "../../../src/domain/event.ts";
import { TEST_USERS } from "../../harness/pipeline/test-users.ts";
import type { EventRow } from "../stores/cold/data.ts";
import type { HotData } from "../stores/hot/data.ts";
import type { Owner } from "../world/scheduler.ts";
import { type Check, Failure } from "./failure.ts";

export type Told = "stored" | "refused" | "unknown";

/** An event as its sender knows it: with an id it is the same one each time that it is sent. */
export interface SentEvent extends HourKey {
  readonly event: Event;
  readonly register: number;
  /** Sent, and not answered yet. */
  open: number;
  refused: number;
  unknown: number;
  /** When its sender was first told that it is stored. */
  storedMs: number;
  /** When its process first said so. */
  acknowledgedMs: number;
  /** The process that said so first. */
  acknowledgedBy: Owner | undefined;
  /** Rows and dead letters. */
  rows: number;
  /** A hot store has lost it: who is to commit it again. */
  missingFrom: Owner | undefined;
  /** Some hot store may lose it and has: who commits it again has no answer yet, perhaps. */
  isCommittedAgain: boolean;
  /** Those that it was sent to. */
  readonly processes: Set<Owner>;
  /** Some master does not know its id, though another one has counted it. */
  isIdDivided: boolean;
  /** It was counted by two masters: what no store can help, if it was sent to two processes. */
  isCountedTwice: boolean;
  /** Rows of writers whose seal the cold store has lost: nothing keeps their journals from being stored again. */
  unsealedRows: number;
  /**
   * The hot store lost it together with the only process that knew of it, or the cold store was set back: what no store
   * can help.
   */
  isExcused: boolean;
}

export type Report = (check: Check, message: string) => void;

/** A hot store that continues with other data than it had. */
export interface Loss {
  readonly before: HotData;
  readonly after: HotData;
  /** By writer: through this seq it was already known what is missing. */
  readonly known?: ReadonlyMap<string, number>;
  /** Whether acknowledged events may be lost too: by default, unless replicas are awaited. */
  readonly mayLose?: boolean;
}

export class SentEvents {
  readonly all: SentEvent[] = [];
  readonly #byUser = new Map<string, SentEvent>();
  readonly #byHour = new Map<string, SentEvent[]>();
  readonly #report: Report;

  constructor(report: Report) {
    this.#report = report;
  }

  add(event: Event): SentEvent {
    const { stream, at, user } = event;
    const sent: SentEvent = {
      event,
      stream,
      hour: hourOf(at),
      register: TEST_USERS.registerOf(user),
      open: 0,
      refused: 0,
      unknown: 0,
      storedMs: Number.POSITIVE_INFINITY,
      acknowledgedMs: Number.POSITIVE_INFINITY,
      acknowledgedBy: undefined,
      rows: 0,
      missingFrom: undefined,
      isCommittedAgain: false,
      processes: new Set(),
      isIdDivided: false,
      isCountedTwice: false,
      unsealedRows: 0,
      isExcused: false,
    };
    this.all.push(sent);
    this.#byUser.set(user, sent);
    const name = hourKeyName(stream, sent.hour);
    const ofHour = this.#byHour.get(name);
    if (ofHour === undefined) this.#byHour.set(name, [sent]);
    else ofHour.push(sent);
    return sent;
  }

  of(user: string): SentEvent {
    const sent = this.#byUser.get(user);
    if (sent === undefined) throw new Failure("crash", `nobody has sent an event of ${user}`);
    return sent;
  }

  ofHour({ stream, hour }: HourKey): readonly SentEvent[] {
    return this.#byHour.get(hourKeyName(stream, hour)) ?? [];
  }

  /**
   * `isDivided`: another master does not know of it. `isCurrent`: it is no former master, whose journal nobody stores
   * what was refused from.
   */
  committed(batch: JournaledBatch, isDivided: boolean, isCurrent: boolean): void {
    for (const { users } of batch.groups) {
      for (const user of users) {
        const sent = this.of(user);
        sent.missingFrom = undefined;
        if (sent.isIdDivided) sent.isCountedTwice = true;
        if (isDivided && sent.event.id !== undefined) sent.isIdDivided = true;
        if (isCurrent && isRefused(sent))
          this.#report("refused-journaled", `${user} was refused, and is committed now`);
      }
    }
  }

  /** `isSealLost`: the cold store had sealed the writer, before it was set back. */
  stored(row: EventRow, isSealLost: boolean): void {
    const sent = this.of(row.user);
    sent.rows += 1;
    if (isSealLost) sent.unsealedRows += 1;
    if (sent.rows > rowsMax(sent)) this.#report("two-rows", `${row.user} is ${sent.rows} rows`);
    if (isRefused(sent)) this.#report("refused-stored", `${row.user} was refused, and is a row now`);
  }

  /** The cold store was set back to before it stored this row. What was told to senders is as if it had not been. */
  unstored(row: EventRow): void {
    const sent = this.of(row.user);
    sent.rows -= 1;
    if (sent.rows === 0) sent.isExcused = true;
  }

  /** The process says so. */
  refused(sent: SentEvent, hots: readonly HotData[]): void {
    if (sent.open > 1 || sent.unknown > 0 || sent.acknowledgedMs < Number.POSITIVE_INFINITY) return;
    if (sent.rows === 0 && !isJournaled(hots, sent.event.user)) return;
    this.#report("refused-journaled", `${sent.event.user} is refused, and is in a store already`);
  }

  /** The process says so; whether its sender hears of it is another matter. */
  acknowledged(sent: SentEvent, process: Owner, nowMs: number, hots: readonly HotData[]): void {
    sent.acknowledgedBy ??= process;
    sent.acknowledgedMs = Math.min(sent.acknowledgedMs, nowMs);
    if (sent.rows > 0 || sent.missingFrom !== undefined || sent.isExcused || isJournaled(hots, sent.event.user)) return;
    this.#report("acknowledged-not-safe", `${sent.event.user} is acknowledged, and in no store`);
  }

  /** `ownerOf`: the writer's process. Answers what is in no journal any more, by writer. */
  lost(
    { before, after, known, mayLose }: Loss,
    ownerOf: (writer: string) => Owner | undefined,
  ): ReadonlyMap<string, readonly SentEvent[]> {
    if (mayLose) for (const id of before.idsNotIn(after)) this.of(id).isIdDivided = true;
    const lost = new Map<string, SentEvent[]>();
    for (const [writer, journal] of before.journals) {
      const events: SentEvent[] = [];
      for (const [seq, { batch }] of journal) {
        if (seq <= (known?.get(writer) ?? -1) || after.journals.get(writer)?.has(seq)) continue;
        const sent = batch.groups.flatMap(({ users }) => users.map((user) => this.of(user)));
        events.push(...sent.filter(({ rows, event }) => rows === 0 && !isJournaled([after], event.user)));
      }
      for (const sent of events) this.#lose(sent, ownerOf(writer), mayLose);
      lost.set(writer, events);
    }
    return lost;
  }

  #lose(sent: SentEvent, owner: Owner | undefined, mayLose = true): void {
    if (mayLose) sent.isCommittedAgain = true;
    else if (sent.acknowledgedMs < Number.POSITIVE_INFINITY && !sent.isCommittedAgain && !sent.isExcused)
      this.#report("acknowledged-lost", `${sent.event.user} was acknowledged, and no replica has it`);
    if (owner === undefined || owner.isDead) sent.isExcused = true;
    else sent.missingFrom = owner;
  }

  /** Every process knows of every loss: an id that it does not know then counts nowhere. */
  noticed(): void {
    for (const sent of this.all) sent.isIdDivided = false;
  }

  /** It has ended, or has said so: what a hot store has lost, and it alone knew of, is lost for good. */
  ended(process: Owner): void {
    for (const sent of this.all) if (sent.missingFrom === process) sent.isExcused = true;
  }
}

/** It was acknowledged, and has to be committed again. */
export function isMissing({ missingFrom, acknowledgedMs, rows, isExcused }: SentEvent): boolean {
  return missingFrom !== undefined && acknowledgedMs < Number.POSITIVE_INFINITY && rows === 0 && !isExcused;
}

/** The most rows that the event may have. */
export function rowsMax({ isCountedTwice, processes, unsealedRows }: SentEvent): number {
  return (isCountedTwice ? Math.max(1, processes.size) : 1) + unsealedRows;
}

/** Told so of every sending, and no other is under way. */
export function isRefused(sent: SentEvent): boolean {
  return sent.open === 0 && sent.unknown === 0 && sent.refused > 0 && sent.acknowledgedMs === Number.POSITIVE_INFINITY;
}

function isJournaled(hots: readonly HotData[], user: string): boolean {
  for (const { journals } of hots) {
    for (const journal of journals.values()) {
      for (const { batch } of journal.values()) {
        for (const { users } of batch.groups) if (users.includes(user)) return true;
      }
    }
  }
  return false;
}

/**
 * The events of a run: what their senders were told of each, and how often each was counted.
 *
 * Invariants checked here, at the moment at which they would break: an event is one row at most; none that was refused,
 * each time that it was sent, is counted; none is acknowledged before it is in a journal or a row.
 */
import type { JournaledBatch } from "../../../src/domain/batch.ts";
import { type Event, type HourKey, hourKeyName, hourOf } from "../../../src/domain/event.ts";
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
  /** Rows and dead letters. */
  rows: number;
  /** A hot store has lost it: who is to commit it again. */
  missingFrom: Owner | undefined;
  /** The hot store lost it together with the only process that knew of it: what no store can help. */
  isExcused: boolean;
}

export type Report = (check: Check, message: string) => void;

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
    const told = { open: 0, refused: 0, unknown: 0, storedMs: Number.POSITIVE_INFINITY };
    const sent: SentEvent = {
      ...{ event, stream, hour: hourOf(at), register: TEST_USERS.registerOf(user), ...told, rows: 0 },
      ...{ acknowledgedMs: Number.POSITIVE_INFINITY, missingFrom: undefined, isExcused: false },
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

  committed(batch: JournaledBatch): void {
    for (const { users } of batch.groups) {
      for (const user of users) {
        const sent = this.of(user);
        sent.missingFrom = undefined;
        if (isRefused(sent)) this.#report("refused-journaled", `${user} was refused, and is committed now`);
      }
    }
  }

  stored(row: EventRow): void {
    const sent = this.of(row.user);
    sent.rows += 1;
    if (sent.rows > 1) this.#report("two-rows", `${row.user} is ${sent.rows} rows`);
    if (isRefused(sent)) this.#report("refused-stored", `${row.user} was refused, and is a row now`);
  }

  /** The process says so. */
  refused(sent: SentEvent, hots: readonly HotData[]): void {
    if (sent.open > 1 || sent.unknown > 0 || sent.acknowledgedMs < Number.POSITIVE_INFINITY) return;
    if (sent.rows === 0 && !isJournaled(hots, sent.event.user)) return;
    this.#report("refused-journaled", `${sent.event.user} is refused, and is in a store already`);
  }

  /** The process says so; whether its sender hears of it is another matter. */
  acknowledged(sent: SentEvent, nowMs: number, hots: readonly HotData[]): void {
    sent.acknowledgedMs = Math.min(sent.acknowledgedMs, nowMs);
    if (sent.rows > 0 || sent.missingFrom !== undefined || sent.isExcused || isJournaled(hots, sent.event.user)) return;
    this.#report("acknowledged-not-safe", `${sent.event.user} is acknowledged, and in no store`);
  }

  /** The hot store has no longer what `before` had. `ownerOf`: the writer's process. Answers how many events. */
  lost(before: HotData, now: HotData, ownerOf: (writer: string) => Owner | undefined): number {
    let count = 0;
    for (const [writer, journal] of before.journals) {
      for (const [seq, { batch }] of journal) {
        if (now.journals.get(writer)?.has(seq)) continue;
        for (const { users } of batch.groups) for (const user of users) count += this.#lose(user, ownerOf(writer));
      }
    }
    return count;
  }

  #lose(user: string, owner: Owner | undefined): number {
    const sent = this.of(user);
    if (sent.rows > 0) return 0;
    if (owner === undefined || owner.isDead) sent.isExcused = true;
    else sent.missingFrom = owner;
    return 1;
  }

  /** It has ended, or has said so: what a hot store has lost, and it alone knew of, is lost for good. */
  ended(process: Owner): void {
    for (const sent of this.all) if (sent.missingFrom === process) sent.isExcused = true;
  }
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

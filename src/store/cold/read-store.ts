/** What reads of hours and ranges, and the ledger, need of the cold store. */
import type { HourKey, Kind } from "../../domain/event.ts";
import type { HourRange, HourRecord, HourTotals, StreamSelection } from "../../domain/hour-range.ts";

/** `hours`: at least one. */
export interface UsersRange {
  readonly hours: readonly number[];
  readonly streams: StreamSelection;
}

export interface UserRow {
  readonly hour: number;
  readonly at: number;
  readonly kind: Kind;
  readonly user: string;
}

/** Takes one shard's part of an hour. */
export type HourPartVisitor = (hour: HourRecord, shard: number) => void;

/** How many ranges were read from the replica, or from the primary because the replica was behind or unavailable. */
export interface PastReads {
  readonly replica: number;
  readonly behind: number;
  readonly away: number;
}

export interface StoredEvents {
  /** Of all writers, past and present. */
  readonly total: number;
  /** Of the requested writers that have any. */
  readonly byWriter: ReadonlyMap<string, number>;
}

export interface ReadStore {
  /** Undefined if there is no replica. */
  readonly pastReads: PastReads | undefined;
  /** The given shards' parts, or all. Undefined if no event of that hour is stored. */
  read(key: HourKey, shards?: readonly number[]): Promise<HourTotals | undefined>;
  /**
   * Shows `visit` each stored part of each hour of the range, by hour, with one query: all of one instant. Whatever
   * `visit` throws ends the reading, and is thrown.
   */
  readRange(range: HourRange, visit: HourPartVisitor): Promise<void>;
  /** The same for the rows of those hours, one by one. */
  readUsers(range: UsersRange, visit: (row: UserRow) => void): Promise<void>;
  /** Names of streams that have hours, in order, at most `limit`. */
  streams(limit: number): Promise<readonly string[]>;
  /** The latest hour of any stream that has an event; undefined if there is none. */
  newestHour(): Promise<number | undefined>;
  /** How many events are stored, dead letters among them. */
  storedEvents(writers: readonly string[]): Promise<StoredEvents>;
}

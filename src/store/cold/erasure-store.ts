/** What erasing a user (`forget`) needs of the cold store, and what readers need to know about erased rows. */
import type { HourKey } from "../../domain/event.ts";
import type { ErasedCounts } from "../../domain/retention-bounds.ts";
import type { UsersRange } from "./read-store.ts";

export interface UserSelection {
  readonly user: string;
  readonly stream: string | undefined;
}

/** Erased rows of all selected streams. */
export interface ErasedHour extends ErasedCounts {
  readonly hour: number;
}

export interface HourSize {
  readonly hour: number;
  /** Of all streams, as the aggregates count them. */
  readonly events: number;
}

export interface ErasureStore {
  /** The first hour after `hour` that has rows. */
  nextHourWithRows(hour: number): Promise<number | undefined>;
  /** By hour: the length of a scan of all rows. */
  hourSizes(): Promise<readonly HourSize[]>;
  countUserRows(selection: UserSelection, hour: number): Promise<ErasedCounts>;
  /**
   * Deletes the user's rows of the hour, piece by piece, and stores their numbers in the same transaction: interrupted
   * anywhere and called again it continues. Aggregates stay as they are. Answers what it deleted.
   */
  eraseUserRows(selection: UserSelection, hour: number): Promise<ErasedCounts>;
  countUserDeadLetters(selection: UserSelection): Promise<number>;
  /** Answers the hours of the erased letters, one element a letter. */
  eraseUserDeadLetters(selection: UserSelection): Promise<readonly HourKey[]>;
  /** Only hours that have any. */
  erasedRows(range: UsersRange): Promise<readonly ErasedHour[]>;
}

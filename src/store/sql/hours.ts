/** Rows of `hourly`, for both databases: what a flush adds to an hour, what a row holds, and what is right. */
import {
  BatchBuilder,
  type Event,
  type Group,
  type HourKey,
  hashUsers,
  hourKeyName,
  type JournaledBatch,
  withoutDuplicates,
} from "../../domain/event.ts";
import type { HourTotals } from "../../domain/hour-range.ts";
import type { ErasedCounts } from "../../domain/retention-bounds.ts";
import { UserSketches } from "../../domain/unique-users/sketch.ts";
import type { UserHash } from "../../domain/unique-users/user-hash.ts";
import { compareHours, type EventRow } from "./rows.ts";

export const HOUR_COLUMNS = "clicks, impressions, viewers_sketch AS viewers, clickers_sketch AS clickers";

export interface HourAddition extends HourKey {
  clicks: number;
  impressions: number;
  readonly groups: Group[];
}

/** `refused`: dead letters, which count in no hour. */
export function hourAdditions(batches: readonly JournaledBatch[], refused: readonly EventRow[] = []): HourAddition[] {
  const additions = new Map<string, HourAddition>();
  for (const { groups } of refused.length === 0 ? batches : withoutRows(batches, refused)) {
    for (const group of groups) {
      const { stream, hour } = group;
      if (group.users.length === 0) continue;
      const addition = additions.getOrInsertComputed(hourKeyName(stream, hour), () => {
        return { stream, hour, clicks: 0, impressions: 0, groups: [] };
      });
      addition.clicks += group.clicks;
      addition.impressions += group.impressions;
      addition.groups.push(group);
    }
  }
  return [...additions.values()].sort(compareHours);
}

function withoutRows(batches: readonly JournaledBatch[], rows: readonly EventRow[]): JournaledBatch[] {
  const ordinals = Map.groupBy(rows, ([, , , seq]) => seq);
  return batches.map((batch) => {
    const dropped = ordinals.get(batch.seq) ?? [];
    return withoutDuplicates(
      batch.seq,
      batch,
      dropped.map(([, , , , ordinal]) => ordinal),
    );
  });
}

export function additionOf(event: Event, hash: UserHash): HourAddition {
  const batch = new BatchBuilder();
  const group = batch.add(event);
  hashUsers(batch, hash);
  const { stream, hour, clicks, impressions } = group;
  return { stream, hour, clicks, impressions, groups: [group] };
}

/** A writer's batches through `seq`; `writer` is its numeric id in the database. */
export interface PartPlace {
  readonly writer: number;
  readonly seq: number;
}

export interface HourRow {
  readonly clicks: number;
  readonly impressions: number;
  /** Empty for a sketch without users. */
  readonly viewers: Uint8Array;
  readonly clickers: Uint8Array;
}

export function hourOfRow({ clicks, impressions, viewers, clickers }: HourRow): HourTotals {
  return { clicks, impressions, users: UserSketches.decode(viewers, clickers) };
}

export function totalsOf({ clicks, impressions, groups }: HourAddition): HourTotals {
  const users = new UserSketches();
  for (const { registers, clickFlags } of groups) {
    for (let i = 0; i < registers.length; i++) users.add(registers[i]!, clickFlags[i]!);
  }
  return { clicks, impressions, users };
}

/**
 * The correct aggregate of an hour; undefined if it has no events. After an erasure only the `stored` sketches know the
 * erased users, so they are merged in.
 */
export function rebuiltHour(
  rows: HourTotals | undefined,
  erased: ErasedCounts,
  stored: HourTotals | undefined,
): HourTotals | undefined {
  const { clicks, impressions } = erased;
  if (clicks + impressions === 0) return rows;
  const users = rows?.users ?? new UserSketches();
  if (stored !== undefined) users.merge(stored.users);
  return {
    clicks: clicks + (rows?.clicks ?? 0),
    impressions: impressions + (rows?.impressions ?? 0),
    users,
  };
}

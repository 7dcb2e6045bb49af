/**
 * What a flush writes, made from batches: the rows of `events`, and what is added to each row of `hourly`.
 *
 * Invariant: both come in the order of the table's primary key. Two flushes that touch the same hours
 * therefore lock them in the same order, and rows are appended where their neighbours lie.
 */
import type { Group, JournaledBatch } from "../count/batch.ts";
import { type HourKey, hourKeyName, type Kind } from "../count/event.ts";
import { Sketch } from "../count/sketch.ts";

export const EVENT_COLUMNS = "hour, stream, writer, seq, ordinal, at, kind, user, id";

/** One row of `events`, in the order of EVENT_COLUMNS. `writer` is the writer's id in the database. */
export type EventRow = [
  hour: number,
  stream: string,
  writer: number,
  seq: number,
  ordinal: number,
  at: number,
  kind: Kind,
  user: string,
  id: string | null,
];

/** What a flush adds to one hour of one stream. */
export interface HourAddition extends HourKey {
  clicks: number;
  impressions: number;
  readonly groups: Group[];
}

interface PlacedGroup extends HourKey {
  readonly seq: number;
  readonly firstOrdinal: number;
  readonly group: Group;
}

/** As the databases order them: a stream is ASCII, so comparing code units is comparing bytes. */
function compareHours(a: HourKey, b: HourKey): number {
  if (a.hour !== b.hour) return a.hour - b.hour;
  if (a.stream === b.stream) return 0;
  return a.stream < b.stream ? -1 : 1;
}

function placeGroups(batches: readonly JournaledBatch[]): PlacedGroup[] {
  const placed: PlacedGroup[] = [];
  for (const { seq, groups } of batches) {
    let firstOrdinal = 0;
    for (const group of groups) {
      placed.push({ hour: group.hour, stream: group.stream, seq, firstOrdinal, group });
      firstOrdinal += group.users.length;
    }
  }
  return placed.sort((a, b) => compareHours(a, b) || a.seq - b.seq);
}

function eventRow(writerId: number, placed: PlacedGroup, i: number): EventRow {
  const { hour, stream, seq, firstOrdinal, group } = placed;
  const kind = group.clickFlags[i] === true ? "click" : "impression";
  const id = group.ids?.[i] ?? null;
  return [hour, stream, writerId, seq, firstOrdinal + i, group.ats[i]!, kind, group.users[i]!, id];
}

/** All rows, in pieces that are only built when asked for: between two of them the event loop can run. */
export function* eventRows(
  writerId: number,
  batches: readonly JournaledBatch[],
  rowsPerPiece: number,
): Generator<EventRow[]> {
  let piece: EventRow[] = [];
  for (const placed of placeGroups(batches)) {
    for (let i = 0; i < placed.group.users.length; i++) {
      piece.push(eventRow(writerId, placed, i));
      if (piece.length < rowsPerPiece) continue;
      yield piece;
      piece = [];
    }
  }
  if (piece.length > 0) yield piece;
}

export function hourAdditions(batches: readonly JournaledBatch[]): HourAddition[] {
  const additions = new Map<string, HourAddition>();
  for (const { groups } of batches) {
    for (const group of groups) {
      const { stream, hour } = group;
      if (group.users.length === 0) continue;
      const name = hourKeyName(stream, hour);
      let addition = additions.get(name);
      if (addition === undefined) {
        addition = { stream, hour, clicks: 0, impressions: 0, groups: [] };
        additions.set(name, addition);
      }
      addition.clicks += group.clicks;
      addition.impressions += group.impressions;
      addition.groups.push(group);
    }
  }
  return [...additions.values()].sort(compareHours);
}

/** The hour's sketch after the flush. `stored`: what the database holds, empty for a new hour. */
export function mergedSketch(stored: Uint8Array, addition: HourAddition): Sketch {
  const sketch = stored.length === 0 ? new Sketch() : Sketch.decode(stored);
  for (const { registers } of addition.groups) {
    for (const register of registers) sketch.add(register);
  }
  return sketch;
}

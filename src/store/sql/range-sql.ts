/**
 * The queries that read ranges, for both databases.
 * Invariant: rows are ordered by hour, and the rows of one stream's hour are adjacent, so a reader can finish hours one
 * by one.
 */
import type { HourKey } from "../../domain/event.ts";
import { type HourRange, type HourTotals, sumOfHours } from "../../domain/hour-range.ts";
import { endOfPrefix, type StreamSelection } from "../../domain/stream-rules.ts";
import type { HourPartVisitor } from "../cold.ts";
import { HOUR_COLUMNS, type HourRow, hourOfRow } from "./hours.ts";

export type RangeRow = HourKey & HourRow;

/** Sums the adjacent rows of each hour (per stream and shard), and passes each sum to `visit` once. */
export class HourSums {
  readonly #visit: HourPartVisitor;
  #key: (HourKey & { readonly shard: number }) | undefined;
  #parts: HourTotals[] = [];

  constructor(visit: HourPartVisitor) {
    this.#visit = visit;
  }

  add(row: RangeRow, shard = 0): void {
    const { hour, stream } = row;
    if (this.#key?.hour !== hour || this.#key.stream !== stream || this.#key.shard !== shard) {
      this.end();
      this.#key = { hour, stream, shard };
    }
    this.#parts.push(hourOfRow(row));
  }

  /** Call it after the last row. */
  end(): void {
    const sum = sumOfHours(this.#parts);
    this.#parts = [];
    if (sum === undefined) return;
    const { hour, stream, shard } = this.#key!;
    this.#visit({ hour, stream, ...sum }, shard);
  }
}

export interface Query {
  readonly sql: string;
  readonly values: (string | number)[];
}

/** `key`: the columns that identify an hour's rows, in the order of the rows. */
export function hoursQuery({ from, to, streams }: HourRange, key: string): Query {
  const { sql, values } = ofStreams(streams);
  return {
    sql: `SELECT ${key}, ${HOUR_COLUMNS} FROM hourly WHERE hour >= ? AND hour < ? ${sql} ORDER BY ${key}`,
    values: [from, to, ...values],
  };
}

/** Appended to a condition. Stream names are ASCII, and compared byte by byte. */
export function ofStreams({ text, isPrefix }: StreamSelection): Query {
  if (!isPrefix) return { sql: "AND stream = ?", values: [text] };
  if (text === "") return { sql: "", values: [] };
  return { sql: "AND stream >= ? AND stream < ?", values: [text, endOfPrefix(text)] };
}

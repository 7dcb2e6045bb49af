/**
 * The statements that read ranges, the same for both databases, and the values that go with them.
 * Invariant: rows come in the order of their hours, so that a reader can be done with one after the other.
 */
import { endOfPrefix, type HourRange, type HourRecord, type StreamSelection } from "../count/hour-range.ts";
import { UserSketches } from "../count/user-sketches.ts";

export interface HourRow {
  readonly hour: number;
  readonly stream: string;
  readonly clicks: number;
  readonly impressions: number;
  readonly viewers_sketch: Uint8Array;
  readonly clickers_sketch: Uint8Array | null;
}

export function recordOf({ hour, stream, clicks, impressions, ...row }: HourRow): HourRecord {
  const users = UserSketches.decode(row.viewers_sketch, row.clickers_sketch);
  return { hour, stream, clicks, impressions, users };
}

export interface Query {
  readonly sql: string;
  readonly values: (string | number)[];
}

/** `more`: columns beside those of an HourRow. */
export function hoursQuery({ from, to, streams }: HourRange, more: readonly string[] = []): Query {
  const { sql, values } = ofStreams(streams);
  const columns = ["hour", "stream", "clicks", "impressions", "viewers_sketch", "clickers_sketch", ...more];
  return {
    sql: `SELECT ${columns.join()} FROM hourly
      WHERE hour >= ? AND hour < ? ${sql} ORDER BY hour`,
    values: [from, to, ...values],
  };
}

/** To be put behind a condition. Streams are compared byte by byte, as they are in ASCII. */
export function ofStreams({ text, isPrefix }: StreamSelection): Query {
  if (!isPrefix) return { sql: "AND stream = ?", values: [text] };
  if (text === "") return { sql: "", values: [] };
  return { sql: "AND stream >= ? AND stream < ?", values: [text, endOfPrefix(text)] };
}

/** Pages of an hour's rows, for both databases. */
import type { Kind } from "../../domain/event.ts";
import type { RowKey, RowPage } from "../cold.ts";

export interface ListedRow extends RowKey {
  readonly at: number;
  readonly kind: Kind;
  readonly user: string;
  readonly id: string | null;
}

/** Numeric ids of writers begin at 1. */
export const BEFORE_ALL_ROWS: RowKey = { writer: 0, seq: 0, ordinal: 0 };

export function pageOf(stream: string, rows: readonly ListedRow[], limit: number): RowPage {
  const events = rows.map(({ at, kind, user, id }) => {
    return id === null ? { stream, at, kind, user } : { stream, at, kind, user, id };
  });
  const end = rows.length < limit ? undefined : rows.at(-1);
  return { events, last: end && { writer: end.writer, seq: end.seq, ordinal: end.ordinal } };
}

/** Rows that the database refused, listed and dropped in MySQL or SQLite. */
import type { Event, HourKey, Kind } from "../../domain/event.ts";
import type { DeadLetter, DeadLetterStore, RowKey } from "../cold.ts";
import { EVENT_COLUMNS } from "./rows.ts";
import type { Sql, SqlText } from "./sql-runner.ts";

const HOURS = "SELECT DISTINCT hour, stream FROM dead_letters LIMIT ?";
const DROP = "DELETE FROM dead_letters WHERE dead_letter = ?";

export interface DeadLetterRow extends RowKey, Omit<DeadLetter, "event"> {
  readonly hour: number;
  readonly stream: SqlText;
  readonly at: number;
  readonly kind: SqlText;
  readonly user: SqlText;
  readonly id: SqlText | null;
}

/** The caller appends a condition. */
export function selectDeadLetters({ isoTime }: Pick<Sql, "isoTime">): string {
  return `SELECT dead_letter AS number, ${EVENT_COLUMNS}, reason, ${isoTime("set_aside_at")} AS setAsideAt
    FROM dead_letters`;
}

export function deadLetterLists(sql: Sql): Omit<DeadLetterStore, "deadLetterCount" | "replayDeadLetter"> {
  const select = `${selectDeadLetters(sql)} WHERE dead_letter > ? ORDER BY dead_letter LIMIT ?`;
  return {
    deadLetterHours: (limit) =>
      sql.read("list hours with dead letters", async (session) => {
        const rows = await session.rows<HourKey & { readonly stream: SqlText }>(HOURS, [limit]);
        return rows.map(({ hour, stream }) => ({ hour, stream: stream.toString() }));
      }),
    deadLetters: (afterNumber, limit) =>
      sql.read("list dead letters", async (session) => {
        const rows = await session.rows<DeadLetterRow>(select, [afterNumber, limit]);
        return rows.map((row) => {
          const { number, reason, setAsideAt } = row;
          return { number, reason, event: eventOf(row), setAsideAt };
        });
      }),
    dropDeadLetter: (number) =>
      sql.change(`drop dead letter ${number}`, async (session) => (await session.matched(DROP, [number])) > 0),
  };
}

export function eventOf({ stream, at, kind, user, id }: DeadLetterRow): Event {
  const texts = { stream: stream.toString(), kind: kind.toString() as Kind, user: user.toString() };
  return { ...texts, at, id: id?.toString() };
}

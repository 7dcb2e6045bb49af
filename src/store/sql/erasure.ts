/** Finds and counts a user's rows and dead letters, in MySQL or SQLite. */
import type { Kind } from "../../domain/event.ts";
import { type ErasedCounts, NOTHING_ERASED } from "../../domain/retention-bounds.ts";
import type { ErasureStore, HourSize, RowKey, UserSelection } from "../cold.ts";
import type { Sql, SqlSession, SqlValue } from "./sql-runner.ts";

const NEXT_HOUR = "SELECT hour FROM events WHERE hour > ? ORDER BY hour LIMIT 1";
const HOUR_SIZES = "SELECT hour, SUM(clicks + impressions) AS events FROM hourly GROUP BY hour ORDER BY hour";

export const ERASED_COLUMNS = "clicks, impressions, dead_letters AS deadLetters";

/** A row to erase. */
export interface FoundRow extends RowKey {
  readonly stream: string;
  readonly kind: Kind;
}

type Counts = Pick<ErasureStore, "nextHourWithRows" | "hourSizes" | "countUserRows" | "countUserDeadLetters">;

export function userCounts({ read, userValue }: Sql): Counts {
  return {
    nextHourWithRows: (hour) =>
      read("find the next hour", async (session) => (await session.rows<{ hour: number }>(NEXT_HOUR, [hour]))[0]?.hour),
    hourSizes: () => read("list the sizes of hours", hourSizes),
    countUserRows: (selection, hour) =>
      read(`count a user's rows of hour ${hour}`, (session) => countRows(session, ofUser(selection, userValue), hour)),
    countUserDeadLetters: (selection) =>
      read("count a user's dead letters", async (session) => {
        const { sql, values } = ofUser(selection, userValue);
        const query = `SELECT COUNT(*) AS count FROM dead_letters WHERE ${sql}`;
        return (await session.rows<{ count: number }>(query, values))[0]!.count;
      }),
  };
}

/** An SQL condition. */
export function ofUser<Value>({ user, stream }: UserSelection, userValue: (text: string) => Value) {
  const values: (Value | string)[] = [userValue(user)];
  if (stream === undefined) return { sql: "user = ?", values };
  return { sql: "user = ? AND stream = ?", values: [...values, stream] };
}

/** MySQL answers a sum as a text. */
async function hourSizes(session: SqlSession): Promise<HourSize[]> {
  const rows = await session.rows<{ hour: number; events: number | string }>(HOUR_SIZES);
  return rows.map(({ hour, events }) => ({ hour, events: Number(events) }));
}

async function countRows(
  session: SqlSession,
  { sql, values }: ReturnType<typeof ofUser<SqlValue>>,
  hour: number,
): Promise<ErasedCounts> {
  const query = `SELECT kind, COUNT(*) AS count FROM events WHERE hour = ? AND ${sql} GROUP BY kind`;
  const rows = await session.rows<{ kind: Kind; count: number }>(query, [hour, ...values]);
  const countOf = (kind: Kind) => rows.find((row) => row.kind === kind)?.count ?? 0;
  return { ...NOTHING_ERASED, clicks: countOf("click"), impressions: countOf("impression") };
}

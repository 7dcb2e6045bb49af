/** Ranges read from MySQL, by one statement, row by row as they arrive: memory does not grow with them. */
import type { HourRange } from "../../domain/hour-range.ts";
import type { UserRow, UsersRange, VisitPart } from "../cold.ts";
import { hoursQuery, ofStreams, type RangeRow, recordOf } from "../sql/range-sql.ts";
import type { MysqlSession } from "./link.ts";

type BytesRow = Omit<UserRow, "user"> & { readonly user: Buffer };

export async function readRange(session: MysqlSession, range: HourRange, visit: VisitPart): Promise<void> {
  const { sql, values } = hoursQuery(range, ["shard"]);
  // A flush creates the row before it writes the sketches, but none sees that before all are there.
  await session.each<RangeRow & { shard: number }>(sql, values, (row) => visit(recordOf(row), row.shard));
}

export async function readUsers(
  session: MysqlSession,
  { hours, streams }: UsersRange,
  visit: (row: UserRow) => void,
): Promise<void> {
  const { sql, values } = ofStreams(streams);
  // By name, not as a range: the primary key begins with the hour, so that other streams' rows are not read.
  const query = `SELECT hour, kind, user FROM events WHERE hour IN (?) ${sql} ORDER BY hour`;
  await session.each<BytesRow>(query, [[...hours], ...values], ({ hour, kind, user }) => {
    visit({ hour, kind, user: user.toString() });
  });
}

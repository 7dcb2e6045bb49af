/** Ranges read from MySQL, by one statement, row by row as they arrive: memory does not grow with them. */
import type { HourRange, HourRecord } from "../count/hour-range.ts";
import { Sketch } from "../count/sketch.ts";
import type { UserRow, UsersRange } from "./cold.ts";
import type { MysqlSession } from "./mysql-link.ts";
import { type HourRow, hoursQuery, ofStreams } from "./range-sql.ts";

type BytesRow = Omit<UserRow, "user"> & { readonly user: Buffer };

export async function readRange(
  session: MysqlSession,
  range: HourRange,
  visit: (hour: HourRecord) => void,
): Promise<void> {
  const { sql, values } = hoursQuery(range);
  await session.each<HourRow>(sql, values, ({ hour, stream, clicks, impressions, users_sketch }) => {
    // A flush creates the row before it writes the sketch, but none sees that before both are there.
    visit({ hour, stream, clicks, impressions, sketch: Sketch.decode(users_sketch) });
  });
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

/** Reads of MySQL. A range is one statement whose rows are visited as they arrive, in constant memory. */
import type { HourRange } from "../../domain/hour-range.ts";
import type { HourPartVisitor, ReadStore, StoredEvents, UserRow, UsersRange } from "../cold.ts";
import { HourSums, hoursQuery, ofStreams, type RangeRow } from "../sql/range-sql.ts";
import { rowVisitors } from "../sql/row-visitor.ts";
import type { MysqlDatabase } from "./connection/database.ts";
import type { MysqlSession } from "./connection/sql-session.ts";
import { listStreams, readHour, readNewestHour } from "./hours.ts";

export function readRole(database: MysqlDatabase): ReadStore {
  return {
    pastReads: database.pastReads,
    read: (key, shards) => database.read(`read hour ${key.hour} of stream ${key.stream}`, readHour, key, shards),
    async readRange(range, visit) {
      const visitors = rowVisitors(visit);
      await database.readPast("range", "read a range of hours", (session) => readRange(session, range, visitors()));
    },
    async readUsers(range, visit) {
      const visitors = rowVisitors(visit);
      await database.readPast("range", "read users", (session) => readUsers(session, range, visitors()));
    },
    streams: (limit) => database.read("list streams", listStreams, limit),
    newestHour: () => database.read("read the newest hour", readNewestHour),
    storedEvents: (writers, shard) => database.read("count stored events", countStoredEvents, writers, shard),
  };
}

type BytesRow = Omit<UserRow, "user"> & { readonly user: Buffer };

async function readRange(session: MysqlSession, range: HourRange, visit: HourPartVisitor): Promise<void> {
  const { sql, values } = hoursQuery(range, "hour, stream, shard");
  const hours = new HourSums(visit);
  await session.each<RangeRow & { shard: number }>(sql, values, (row) => hours.add(row, row.shard));
  hours.end();
}

async function readUsers(
  session: MysqlSession,
  { hours, streams }: UsersRange,
  visit: (row: UserRow) => void,
): Promise<void> {
  const { sql, values } = ofStreams(streams);
  // Names each hour: the primary key begins with the hour, so that other hours' rows are not read.
  const query = `SELECT hour, at, kind, user FROM events WHERE hour IN (?) ${sql} ORDER BY hour`;
  await session.each<BytesRow>(query, [[...hours], ...values], ({ hour, at, kind, user }) => {
    visit({ hour, at, kind, user: user.toString() });
  });
}

async function countStoredEvents(
  session: MysqlSession,
  writers: readonly string[],
  shard: number | undefined,
): Promise<StoredEvents> {
  // One statement reads a consistent state. No writer's name is empty.
  const query = `SELECT writer, events FROM writers WHERE writer IN (?)
    UNION ALL SELECT '', CAST(COALESCE(SUM(events), 0) AS UNSIGNED) FROM writers WHERE shard = COALESCE(?, shard)`;
  const rows = await session.rows<{ writer: string; events: number }>(query, [["", ...writers], shard ?? null]);
  const byWriter = new Map(rows.map(({ writer, events }) => [writer, Number(events)]));
  const total = byWriter.get("") ?? 0;
  byWriter.delete("");
  return { total, byWriter };
}

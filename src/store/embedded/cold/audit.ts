/** The reads of `verify` and `export` in SQLite: rows, and hours recounted from them. */
import type { Database } from "bun:sqlite";
import type { HourKey } from "../../../domain/event.ts";
import type { HourTotals } from "../../../domain/hour-range.ts";
import { UserSketches } from "../../../domain/unique-users/sketch.ts";
import { UserHash } from "../../../domain/unique-users/user-hash.ts";
import type { AuditStore } from "../../cold.ts";
import { rebuiltHour } from "../../sql/hours.ts";
import { readDataSet } from "./data-set.ts";
import type { SqliteDatabase } from "./database.ts";
import { countDeadLetters } from "./dead-letters.ts";
import { readErased } from "./erasure.ts";
import { readHour, replaceHour } from "./hours.ts";
import { listRows } from "./rows.ts";
import { readBounds } from "./sweep.ts";

export function auditRole(database: SqliteDatabase): AuditStore {
  return {
    hourKeys: () => database.read("list hours", (reading) => reading.query<HourKey, []>(LIST_HOURS).all()),
    rows: (key, after, limit) =>
      database.read(`read rows of hour ${key.hour} of stream ${key.stream}`, (reading) =>
        listRows(reading, key, after, limit),
      ),
    audit: (key) =>
      database.read(`audit hour ${key.hour} of stream ${key.stream}`, (reading) =>
        // One transaction, so that all reads see one snapshot.
        reading.transaction(() => ({
          aggregate: readHour(reading, key),
          rows: recountHour(reading, key),
          deadLetters: countDeadLetters(reading, {
            hours: [key.hour],
            streams: { text: key.stream, isPrefix: false },
          }),
          erased: readErased(reading, key),
          retained: readBounds(reading),
        }))(),
      ),
    rebuild: (key) =>
      database.transaction(`rebuild hour ${key.hour} of stream ${key.stream}`, (writing) => {
        if (key.hour < readBounds(writing).rowsFrom) return false;
        const [rows, erased] = [recountHour(writing, key), readErased(writing, key)];
        replaceHour(writing, key, rebuiltHour(rows, erased, readHour(writing, key)));
        return true;
      }),
  };
}

const LIST_HOURS = `
  SELECT hour, stream FROM hourly
  UNION SELECT DISTINCT hour, stream FROM events
  UNION SELECT hour, stream FROM dead_letters
  ORDER BY hour, stream`;

function recountHour(database: Database, { stream, hour }: HourKey): HourTotals | undefined {
  const query = database.query<{ kind: "click" | "impression"; user: string }, [number, string]>(
    "SELECT kind, user FROM events WHERE hour = ? AND stream = ?",
  );
  const hash = new UserHash(readDataSet(database).userKey);
  const [users, counts] = [new UserSketches(), { click: 0, impression: 0 }];
  for (const { kind, user } of query.iterate(hour, stream)) {
    counts[kind] += 1;
    users.add(hash.registerOf(user), kind === "click");
  }
  const { click: clicks, impression: impressions } = counts;
  return clicks + impressions === 0 ? undefined : { clicks, impressions, users };
}

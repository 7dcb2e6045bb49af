/** MySQL's columns are as wide as the longest accepted stream and user; those of dead letters are wider. */
import { expect, test } from "bun:test";
import { STREAM_MAX_CHARS } from "../../../src/domain/stream-rules.ts";
import { USER_MAX_BYTES } from "../../../src/domain/user-text.ts";
import tables from "../../../src/store/mysql/migrations/0001-tables.sql" with { type: "text" };

/** The type of the column with this name, by table. */
function columns(name: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [, table, body] of tables.matchAll(/CREATE TABLE IF NOT EXISTS (\w+) \(\n(.*?)\n\)/gs)) {
    const type = new RegExp(`^  ${name} (\\w+(?:\\(\\d+\\))?)`, "m").exec(body!)?.[1];
    if (type !== undefined) found[table!] = type;
  }
  return found;
}

const STREAM = `VARCHAR(${STREAM_MAX_CHARS})`;
const USER = `VARBINARY(${USER_MAX_BYTES})`;
test("streams fit", () => {
  const { dead_letters: _, ...exact } = columns("stream");
  expect(exact).toEqual({ events: STREAM, hourly: STREAM, erased_events: STREAM });
});

test("users and ids fit", () => {
  expect(columns("user")).toEqual({ events: USER, dead_letters: "BLOB" });
  expect(columns("id")["events"]).toBe(USER);
  expect(columns("event_id")).toEqual({ poison: USER });
});

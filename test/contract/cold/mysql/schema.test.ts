/** Query plans, migrations and partitions. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { DAY_MS, HOUR_MS } from "../../../../src/domain/event.ts";
import {
  type MysqlLinkOptions,
  type MysqlSession,
  withOwnSession,
} from "../../../../src/store/mysql/connection/sql-session.ts";
import { ensurePartitions, listPartitions, partitionName } from "../../../../src/store/mysql/partitions.ts";
import { batchOf, click, expectConsistent, NOON } from "../setup.ts";
import { describeColdMysql, type MysqlHarness } from "./mysql-setup.ts";

describeColdMysql((mysql) => {
  describe("beside the contract", () => {
    let harness: MysqlHarness;

    beforeEach(async () => {
      harness = await mysql.open();
    });

    afterEach(async () => {
      await harness.end();
    });

    test("a range of one stream is read by stream and hour, not past all others", async () => {
      const store = harness.store();
      await store.open();
      const events = Array.from({ length: 3_000 }, (_, i) => click("u", NOON + (i % 30) * HOUR_MS, `s${i % 100}`));
      await store.flush("writer-a", [batchOf(1, events)]);
      await harness.run("ANALYZE TABLE hourly");
      const [plan] = await harness.query<{ EXPLAIN: string }>(`EXPLAIN FORMAT=JSON
        SELECT hour, stream, clicks, impressions, viewers_sketch, clickers_sketch FROM hourly
        WHERE hour >= 0 AND hour < ${NOON + DAY_MS} AND stream = 's7' ORDER BY hour`);
      expect(plan?.EXPLAIN).toMatch(/"(key|index_name)": "hourly_by_stream"/);
    });

    test("warns of settings that lose committed rows at a power failure", async () => {
      expect(await harness.store().open()).toEqual([]);
      await harness.run("SET GLOBAL innodb_flush_log_at_trx_commit = 2");
      try {
        const [warning, ...others] = await harness.store().open();
        expect(others).toEqual([]);
        expect(warning).toContain("innodb_flush_log_at_trx_commit is 2. Set it to 1.");
      } finally {
        await harness.run("SET GLOBAL innodb_flush_log_at_trx_commit = 1");
      }
    });

    test("a migration that was cut off half way is done again", async () => {
      await harness.store().open();
      await harness.run("DROP TABLE hourly");
      await harness.run("DELETE FROM schema_migrations");
      const store = harness.store();
      await store.open();
      expect(await store.flush("writer-a", [batchOf(1, [click("u")])])).toBe(1);
      await expectConsistent(harness);
    });

    const usersIn = async (name: string) => {
      const rows = await harness.query<{ user: Buffer }>(`SELECT user FROM events PARTITION (${name})`);
      return rows.map(({ user }) => user.toString());
    };

    const inSession = <T>(work: (session: MysqlSession) => Promise<T>) => {
      const link: MysqlLinkOptions = { url: harness.url, connectTimeoutMs: 5_000, statementTimeoutMs: 5_000 };
      return withOwnSession(link, work);
    };
    const partitions = () => inSession(listPartitions);
    const ensureAt = (now: number) => inSession((session) => ensurePartitions(session, now));

    test("there is a partition for each of the coming days, and rows land in theirs", async () => {
      const store = harness.store();
      await store.open();
      const today = Date.UTC(2026, 0, 31);
      expect(await partitions()).toEqual([
        { name: "past", bound: `${today}` },
        { name: "p20260131", bound: `${today + DAY_MS}` },
        { name: "p20260201", bound: `${today + 2 * DAY_MS}` },
        { name: "p20260202", bound: `${today + 3 * DAY_MS}` },
        { name: "p20260203", bound: `${today + 4 * DAY_MS}` },
        { name: "pmax", bound: "MAXVALUE" },
      ]);
      const ats = [today - 1, today, today + DAY_MS - 1, today + DAY_MS, today + 4 * DAY_MS];
      const users = ["past", "first", "last", "tomorrow", "far"];
      await store.flush("writer-a", [
        batchOf(
          1,
          users.map((user, i) => click(user, ats[i]!)),
        ),
      ]);
      expect(await usersIn("past")).toEqual(["past"]);
      expect(await usersIn(partitionName(today))).toEqual(["first", "last"]);
      expect(await usersIn("p20260201")).toEqual(["tomorrow"]);
      expect(await usersIn("pmax")).toEqual(["far"]);
    });

    test("partitions are made by several at once, each day once; also after days without any", async () => {
      await harness.store().open();
      const before = (await partitions()).length;
      await Promise.allSettled(Array.from({ length: 4 }, () => ensureAt(NOON + 2 * DAY_MS)));
      expect(await partitions()).toHaveLength(before + 2);
      await ensureAt(NOON + 2 * DAY_MS);
      expect(await partitions()).toHaveLength(before + 2);
      await ensureAt(NOON + 400 * DAY_MS);
      expect(await partitions()).toHaveLength(before + 2 + 4);
      expect((await partitions()).at(-2)?.name).toBe(partitionName(NOON + 403 * DAY_MS));
    });

    test("upkeep makes the next day's partition, on a table in use later", async () => {
      let now = NOON;
      const store = harness.storeWith({ now: () => now });
      await store.open();
      const before = (await partitions()).length;
      now += DAY_MS;
      await store.upkeep();
      expect(await partitions()).toHaveLength(before + 1);
      await store.flush("writer-a", [batchOf(1, [click("far", NOON + 4 * DAY_MS)])]);
      expect(await usersIn(partitionName(NOON + 4 * DAY_MS))).toEqual(["far"]);

      await harness.run("START TRANSACTION");
      await harness.query("SELECT * FROM events");
      const error = await ensureAt(now + DAY_MS).catch((reason: unknown) => reason);
      expect(String(error)).toContain("Lock wait timeout");
      await harness.run("COMMIT");
      await ensureAt(now + DAY_MS);
      expect(await partitions()).toHaveLength(before + 2);
    });
  });
});

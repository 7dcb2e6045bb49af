/** What is stored besides events: API keys, dead letters, the schema version. */
import { describe, expect } from "bun:test";
import type { ApiKey } from "../../../../src/domain/api-key.ts";
import { DAY_MS, HOUR_MS } from "../../../../src/domain/event.ts";
import type { Poison } from "../../../../src/store/cold.ts";
import {
  batchOf,
  click,
  expectConsistent,
  type Harness,
  impression,
  NOON,
  rejectionOf,
  STREAM,
  testWithStore,
} from "../setup.ts";

export function recordsContract(name: string, open: () => Promise<Harness>, largestPoisonChars: number): void {
  describe(`cold store contract: ${name}`, () => {
    const test = testWithStore(open);

    test("API keys are listed as they were created, in order, and are revoked once", async ({ harness, store }) => {
      expect(await store.apiKeys()).toEqual([]);
      const key = (n: number, more: Partial<ApiKey> = {}): ApiKey => ({
        ...{ id: `${n}`.repeat(16), sha256: "0123456789abcdef".repeat(4), name: "Ada's shop ☕ ' \" \\" },
        ...{ scopes: ["write", "read"], streams: [], limit: undefined, createdAt: NOON + n },
        ...{ expiresAt: undefined, revokedAt: undefined, ...more },
      });
      const limit = { count: 1_000_000, windowMs: HOUR_MS };
      const streams = Array.from({ length: 50 }, (_, i) => `${"s".repeat(60)}${10 + i}.*`);
      const all = [key(3), key(1, { streams, limit, scopes: ["admin"] }), key(2, { expiresAt: NOON + DAY_MS })];
      for (const one of all) await store.addApiKey(one);
      const other = harness.store();
      await other.open();
      const inOrder = [all[1]!, all[2]!, all[0]!];
      expect(await other.apiKeys()).toEqual(inOrder);
      expect((await rejectionOf(other.addApiKey(key(2)))).message).toContain("add an API key");
      expect(await other.revokeApiKey(all[2]!.id, NOON + 7)).toBe(true);
      expect(await store.revokeApiKey(all[2]!.id, NOON + 8)).toBe(false);
      expect(await store.revokeApiKey("f".repeat(16), NOON)).toBe(false);
      expect((await store.apiKeys())[1]).toEqual({ ...all[2]!, revokedAt: NOON + 7 });
    });

    test("a malformed row is no API key, and does not affect the others", async ({ harness, store }) => {
      const columns = "id, sha256, scopes, streams, rate_limit, name, created_at";
      const hash = "0123456789abcdef".repeat(4);
      const rows = [
        `'${hash}', 'write', 'a b', NULL`,
        `'${hash}', 'root', '', NULL`,
        `'${hash}', '', '', NULL`,
        `'${hash}', 'write', '', '9/x'`,
        `'${hash.slice(1)}', 'write', '', NULL`,
        `'${hash}', 'write', '', NULL`,
      ];
      for (const [i, row] of rows.entries()) {
        await harness.run(`INSERT INTO api_keys (${columns}) VALUES ('${i}', ${row}, 'a', 0)`);
      }
      expect((await store.apiKeys()).map(({ id }) => id)).toEqual(["5"]);
    });

    test("a data set has its own identity and key, which never change", async ({ harness, store }) => {
      const others = [harness.store(), harness.store()];
      await Promise.all(others.map((other) => other.open()));
      const found = await Promise.all([store, ...others].map((each) => each.dataSet()));
      expect(found[0]!.identity).toMatch(/^[0-9a-f-]{36}$/);
      expect([...found[0]!.userKey]).toHaveLength(16);
      for (const each of found) expect(each).toEqual(found[0]!);
      const again = harness.store();
      await again.open();
      expect(await again.dataSet()).toEqual(found[0]!);
      await harness.run("DELETE FROM data_set");
      const another = await again.dataSet();
      expect(another.identity).not.toBe(found[0]!.identity);
      expect(another.userKey).not.toEqual(found[0]!.userKey);
    });

    test("a rebuild beside flushes into the hour loses and doubles nothing", async ({ harness, store }) => {
      const other = harness.store();
      await other.open();
      for (let seq = 1; seq <= 30; seq++) {
        const events = [click(`u-${seq}`), impression("v"), impression(`w-${seq % 7}`, NOON, "site-2")];
        // One writer in three is new.
        const writer = seq % 3 === 0 ? `writer-${seq}` : "writer-a";
        const rebuilding = other.rebuild({ stream: STREAM, hour: NOON });
        await Promise.all([store.flush(writer, [batchOf(seq, events)]), rebuilding]);
      }
      expect(await expectConsistent(harness)).toHaveLength(90);
    });

    test("poison is set aside once by its digest, listed as it came, and dropped", async ({ store }) => {
      const piece = (name: string, more: Partial<Poison> = {}): Poison => ({
        ...{ digest: Bun.SHA256.hash(name, "hex"), origin: "amqp:events", messageId: "m", position: 3 },
        ...{ eventId: "m#3", body: `{"user": "${name}"}`, reason: "user: got 'ä', expected another" },
        ...more,
      });
      const whole = { messageId: undefined, position: undefined, eventId: undefined };
      const large = piece("large", { ...whole, body: `\u0000'"\\\n${"ü".repeat(largestPoisonChars)}` });
      // The longest name of a queue, and the longest id: of Kafka, with a topic of 249.
      const long = piece("b", { origin: `rabbitmq:${"q".repeat(255)}`, messageId: "ü".repeat(150) });
      await store.setAsidePoison([]);
      await store.setAsidePoison([piece("a"), large, piece("a"), long]);
      await store.setAsidePoison([long, piece("c")]);
      const listed = await store.poison(0, 10);
      const came = [piece("a"), large, long, piece("c")];
      expect(listed.map(({ number: _, setAsideAt: __, ...rest }) => rest)).toEqual(
        came.map(({ digest: _, ...rest }) => rest),
      );
      for (const { setAsideAt } of listed) expect(Date.parse(setAsideAt)).toBeGreaterThan(Date.now() - 60_000);
      expect(await store.poison(listed[1]!.number, 1)).toEqual([listed[2]!]);
      expect(await store.dropPoison(listed[0]!.number)).toBe(true);
      expect(await store.dropPoison(listed[0]!.number)).toBe(false);
      expect(await store.poison(0, 10)).toEqual(listed.slice(1));
      await store.setAsidePoison([piece("a")]);
      expect(await store.poison(0, 10)).toHaveLength(4);
    });

    test("a database of a newer build is refused", async ({ harness }) => {
      await harness.run("INSERT INTO schema_migrations (version, name) VALUES (99, 'of-tomorrow')");
      const error = await rejectionOf(harness.store().open());
      expect(error.message).toContain("schema version 99");
      expect(error.message).toContain("newer build");
    });

    test("a database that lacks a table is refused, and not given an empty one", async ({ harness }) => {
      await harness.store().open();
      for (const table of ["events", "poison"]) await harness.run(`DROP TABLE ${table}`);
      const error = await rejectionOf(harness.store().open());
      expect(error.message).toContain("lacks events, poison");
      expect(error.message).toContain("restore it from a backup");
    });
  });
}

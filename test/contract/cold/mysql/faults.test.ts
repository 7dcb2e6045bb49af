/** Connections cut around COMMIT; a server that dies, falls silent or refuses. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { HOUR_MS } from "../../../../src/domain/event.ts";
import type { ColdStore } from "../../../../src/store/cold.ts";
import { type MysqlColdStoreOptions, mysqlColdStore } from "../../../../src/store/mysql/cold-store.ts";
import { isCommit, isStatement, startProxy, type TcpProxy } from "../../../harness/servers/tcp-proxy.ts";
import { waitFor } from "../../../harness/service/wait-for.ts";
import {
  atPort,
  batchOf,
  click,
  expectConsistent,
  mixedEvents,
  NOON,
  oneStream,
  rangeOf,
  rejectionOf,
  STREAM,
} from "../setup.ts";
import { describeColdMysql, type MysqlHarness } from "./mysql-setup.ts";

describeColdMysql((mysql) => {
  describe("beside the contract", () => {
    let harness: MysqlHarness;
    let proxy: TcpProxy | undefined;

    beforeEach(async () => {
      harness = await mysql.open();
    });

    afterEach(async () => {
      await harness.end();
      await proxy?.close();
      proxy = undefined;
    });

    async function openThroughProxy(settings: Partial<MysqlColdStoreOptions> = {}): Promise<ColdStore> {
      proxy = await startProxy(mysql.server.port);
      const store = harness.storeWith({ url: atPort(harness.url, proxy.port), ...settings });
      await store.open();
      return store;
    }

    test("a connection that is cut before COMMIT arrives: nothing is stored, then once", async () => {
      const store = await openThroughProxy();
      proxy!.onUpstream = (chunk, connection) => {
        if (!isCommit(chunk)) return true;
        proxy!.onUpstream = undefined;
        connection.cut();
        return false;
      };
      const batches = [batchOf(1, mixedEvents("a", 2_500))];
      const error = await rejectionOf(store.flush("writer-a", batches));
      expect(error.message).toContain("flush batches 1 to 1 of writer writer-a");
      expect(await harness.events()).toEqual([]);
      expect(await store.flush("writer-a", batches)).toBe(2_500);
      expect(await expectConsistent(harness)).toHaveLength(2_500);
    });

    test("a connection that is cut before the answer to COMMIT arrives: stored once", async () => {
      const store = await openThroughProxy();
      let committing = false;
      proxy!.onUpstream = (chunk) => {
        committing ||= isCommit(chunk);
        return true;
      };
      proxy!.onDownstream = (_, connection) => {
        if (!committing) return true;
        proxy!.onUpstream = undefined;
        proxy!.onDownstream = undefined;
        connection.cut();
        return false;
      };
      const batches = [batchOf(1, mixedEvents("a", 2_500))];
      await rejectionOf(store.flush("writer-a", batches));
      expect(await store.flush("writer-a", batches)).toBe(0);
      expect(await store.flush("writer-a", [...batches, batchOf(2, [click("u")])])).toBe(1);
      expect(await expectConsistent(harness)).toHaveLength(2_501);
    });

    test("an answer to COMMIT that never comes: fails at the deadline, stored once", async () => {
      const store = await openThroughProxy({ flushTimeoutMs: 2_000 });
      let committing = false;
      proxy!.onUpstream = (chunk) => {
        committing ||= isCommit(chunk);
        return true;
      };
      proxy!.onDownstream = () => !committing;
      const batches = [batchOf(1, mixedEvents("a", 100))];
      const error = await rejectionOf(store.flush("writer-a", batches));
      expect(error.message).toContain("no answer within 2000 ms to: COMMIT");
      proxy!.onUpstream = undefined;
      proxy!.onDownstream = undefined;
      expect(await store.flush("writer-a", batches)).toBe(0);
      expect(await expectConsistent(harness)).toHaveLength(100);
    });

    test("a connection that is cut at any statement: stored once", async () => {
      const store = await openThroughProxy({ partsPerHour: 1 });
      let wasCut = true;
      let cutAt = 0;
      while (wasCut) {
        cutAt += 1;
        wasCut = false;
        let statements = 0;
        proxy!.onUpstream = (chunk, connection) => {
          if (isStatement(chunk)) statements += 1;
          if (statements !== cutAt) return true;
          wasCut = true;
          connection.cut();
          return false;
        };
        const batches = [batchOf(cutAt, mixedEvents(`cut-${cutAt}`, 30))];
        const outcome = store.flush("writer-a", batches);
        // BEGIN, the writer's row, rows, parts of hours, the watermark, COMMIT. Then hours are folded.
        if (cutAt <= 6) await rejectionOf(outcome);
        else expect(await outcome).toBe(30);
        proxy!.onUpstream = undefined;
        expect(await store.flush("writer-a", batches)).toBe(cutAt <= 6 ? 30 : 0);
      }
      // BEGIN, locks, the parts, their sum, their deletion, COMMIT.
      expect(cutAt).toBeGreaterThan(12);
      expect(await expectConsistent(harness)).toHaveLength(cutAt * 30);
    });

    test("a server that is killed and started again needs no new store", async () => {
      const store = harness.store();
      await store.open();
      await store.flush("writer-a", [batchOf(1, mixedEvents("a", 100))]);
      await mysql.server.kill();
      const batches = [batchOf(2, mixedEvents("b", 100))];
      await rejectionOf(store.flush("writer-a", batches));
      await rejectionOf(store.read({ stream: STREAM, hour: NOON }));
      await rejectionOf(harness.store().open());
      await mysql.server.start();
      await harness.reconnect();
      expect(await store.flush("writer-a", batches)).toBe(100);
      expect((await store.read({ stream: STREAM, hour: NOON }))?.clicks).toBe(34);
      expect(await expectConsistent(harness)).toHaveLength(200);
    });

    test("a server that falls silent: each call fails within its deadline, then works", async () => {
      const store = harness.storeWith({ flushTimeoutMs: 1_000, readTimeoutMs: 500 });
      await store.open();
      await store.flush("writer-a", [batchOf(1, mixedEvents("a", 10))]);
      const batches = [batchOf(2, mixedEvents("b", 10))];
      const key = { stream: STREAM, hour: NOON };
      mysql.server.pause();
      try {
        const startMs = performance.now();
        const reads = Array.from({ length: 300 }, () => rejectionOf(store.read(key)));
        const flush = await rejectionOf(store.flush("writer-a", batches));
        expect(flush.message).toContain("no answer within 1000 ms");
        expect((await Promise.all(reads)).map(({ message }) => message).join()).toContain("callers wait");
        await rejectionOf(store.watermark("writer-a"));
        expect(performance.now() - startMs).toBeLessThan(15_000);
      } finally {
        mysql.server.resume();
      }
      // Within their short deadlines, once the server has done all that had been sent to it.
      await waitFor("a flush", async () => (await store.flush("writer-a", batches)) >= 0);
      const hour = await waitFor("a read", () => store.read(key));
      expect(hour.clicks).toBe(4);
      expect(await expectConsistent(harness)).toHaveLength(20);
    });

    test("close() ends in time on a server that is silent", async () => {
      const store = harness.store();
      await store.open();
      await store.flush("writer-a", [batchOf(1, mixedEvents("a", 10))]);
      mysql.server.pause();
      try {
        const flushing = rejectionOf(store.flush("writer-a", [batchOf(2, mixedEvents("b", 10))]));
        const connecting = rejectionOf(store.read({ stream: STREAM, hour: NOON }));
        await new Promise<void>((resolve) => setImmediate(resolve));
        const startMs = performance.now();
        await store.close();
        expect(performance.now() - startMs).toBeLessThan(8_000);
        await Promise.all([flushing, connecting]);
      } finally {
        mysql.server.resume();
      }
    });

    test("a range whose connection is cut on the way fails, and can be read again", async () => {
      const store = await openThroughProxy();
      const events = Array.from({ length: 2_000 }, (_, i) => click(`u${i}`, NOON - i * HOUR_MS));
      await store.flush("writer-a", [batchOf(1, events)]);
      const startMs = performance.now();
      let answeredBytes = 0;
      // Of more than 100,000.
      proxy!.onDownstream = (chunk, connection) => {
        answeredBytes += chunk.length;
        if (answeredBytes <= 50_000) return true;
        connection.cut();
        return false;
      };
      await rejectionOf(store.readRange(oneStream(STREAM), () => {}));
      expect(performance.now() - startMs).toBeLessThan(8_000);
      proxy!.onDownstream = undefined;
      expect(await rangeOf(store, oneStream(STREAM))).toHaveLength(2_000);
    });

    test("the watermark waits for a flush whose outcome is open", async () => {
      const store = harness.store();
      await store.open();
      await store.flush("writer-a", [batchOf(6, [click("u")])]);
      await harness.run("START TRANSACTION");
      await harness.run("UPDATE writers SET seq = 7");
      const watermark = store.watermark("writer-a");
      // Not INNODB_TRX: that is a cache which is not refreshed while it is asked often.
      const waits = "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'";
      await waitFor("the watermark to wait for the row's lock", async () => {
        return (await harness.query<{ Value: string }>(waits))[0]?.Value === "1";
      });
      await harness.run("COMMIT");
      expect(await watermark).toBe(7);
    });

    test("a refusal by the server leaves no transaction behind", async () => {
      const store = harness.store();
      await store.open();
      await harness.run("ALTER TABLE events CHANGE user name VARBINARY(255) NOT NULL");
      const error = await rejectionOf(store.flush("writer-a", [batchOf(1, [click("x".repeat(200))])]));
      expect(error.message).toContain("Unknown column");
      expect(Bun.inspect(error)).not.toContain("xxx");
      const open = `SELECT ID FROM information_schema.INNODB_TRX
        JOIN information_schema.PROCESSLIST ON ID = trx_mysql_thread_id
        WHERE DB = DATABASE() AND ID <> CONNECTION_ID()`;
      await waitFor("its transaction to be gone", async () => (await harness.query(open)).length === 0);
      await harness.run("ALTER TABLE events CHANGE name user VARBINARY(255) NOT NULL");
      expect(await harness.events()).toEqual([]);
      expect(await store.flush("writer-a", [batchOf(1, [click("u")])])).toBe(1);
    });

    test("a wrong password: the error says who was refused, and not the password", async () => {
      const url = new URL(harness.url);
      url.username = "hourglass";
      url.password = "open-sesame";
      const store = harness.storeWith({ url: url.href });
      const error = await rejectionOf(store.open());
      expect(error.message).toContain("Access denied for user 'hourglass'");
      expect(`${Bun.inspect(error)} ${JSON.stringify(error.cause)} ${store.description}`).not.toContain("sesame");
      expect(() => mysqlColdStore({ url: "mysql://u:open-sesame@:1/", now: () => NOON })).toThrow(
        /^((?!sesame).)*mysql:\/\/user/,
      );
    });
  });
});

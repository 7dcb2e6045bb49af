/** A MySQL that was set back to an earlier state, as by a restored backup, while Redis was kept. */
import { describe, expect, test } from "bun:test";
import { verifyHour } from "../../../src/pipeline/upkeep/verify.ts";
import { journaledBatchOf } from "../../harness/pipeline/batches.ts";
import {
  clicks,
  coldStoreAway,
  expectReads,
  hourAt,
  type Instance,
  NOON,
} from "../../harness/pipeline/pipeline-harness.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import { describeFaults, named, namedClicks, SHORT_LEASE_MS } from "./faults-setup.ts";

const TABLES = ["writers", "epochs", "events", "hourly", "flushed_ids"];
const SET_BACK = "the cold store was set back to an earlier state";

describeFaults((cluster) => {
  async function backUp(): Promise<void> {
    for (const table of TABLES) await cluster.site.runSql(`CREATE TABLE kept_${table} AS SELECT * FROM ${table}`);
  }

  async function restore(): Promise<void> {
    for (const table of TABLES) {
      await cluster.site.runSql(`DELETE FROM ${table}`);
      await cluster.site.runSql(`INSERT INTO ${table} SELECT * FROM kept_${table}`);
    }
  }

  async function expectNoDifference({ stores: { hot, cold } }: Instance): Promise<void> {
    const { differences, rows } = await verifyHour({ cold, hot, shard: 0, isRepairing: false }, hourAt(NOON));
    expect({ differences, rows }).toMatchObject({ differences: [], rows: { clicks: expect.any(Number) } });
  }

  function noticed({ log }: Instance): object | undefined {
    return log.entries.find(({ level, message }) => level === "warn" && message.includes(SET_BACK))?.fields;
  }

  describe("MySQL, set back", () => {
    test("while no instance runs: the next one says so, and both stores have what the backup had", async () => {
      const kept = clicks("kept", 5);
      const a = await cluster.site.start();
      await a.take(...kept);
      await a.drained();
      await backUp();
      await a.take(...namedClicks("lost", 3), ...clicks("gone", 4));
      await a.drained();
      await a.stop();
      await restore();
      const b = await cluster.site.start();
      await waitFor("it to be noticed", () => noticed(b));
      expect(noticed(b)).toMatchObject({ lostEvents: 7 });
      await cluster.takesEvents(b);
      await b.serves(hourAt(NOON));
      await expectReads(b, kept);
      await expectNoDifference(b);
      // Their rows are gone, so they are no duplicates when they are sent again.
      const again = [named("lost-0"), named("lost-1")];
      await b.takeInTheEnd(...again);
      expect(b.pipeline.ledger.duplicates).toBe(0);
      await b.drained();
      await cluster.site.expectStored([...kept, ...again]);
      await expectReads(b, [...kept, ...again]);
      await expectNoDifference(b);
    });

    test("while instances run: each notices, and says in its ledger what is lost of its own", async () => {
      const a = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
      const b = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
      const kept = [...clicks("of a", 5), ...clicks("of b", 2)];
      await a.take(...kept.slice(0, 5));
      await b.take(...kept.slice(5));
      await Promise.all([a.drained(), b.drained()]);
      await backUp();
      await a.take(...clicks("lost", 4));
      await a.drained();
      a.guard.intercept = b.guard.intercept = coldStoreAway;
      const backlog = clicks("backlog", 3);
      await a.take(...backlog);
      await restore();
      a.guard.intercept = b.guard.intercept = undefined;
      await waitFor("the loss to be known", () => a.pipeline.ledger.lost > 0);
      await a.drained();
      await Promise.all([cluster.takesEvents(a), cluster.takesEvents(b)]);
      const { accepted, persisted, handedOver, lost } = a.pipeline.ledger;
      expect({ accepted, stored: persisted + handedOver, lost }).toEqual({ accepted: 12, stored: 8, lost: 4 });
      expect(b.pipeline.ledger).toMatchObject({ accepted: 2, persisted: 2, handedOver: 0, lost: 0 });
      expect(noticed(a) ?? noticed(b)).toMatchObject({ lostEvents: 4 });
      await cluster.site.expectStored([...kept, ...backlog]);
      for (const instance of [a, b]) {
        await instance.serves(hourAt(NOON));
        await expectReads(instance, [...kept, ...backlog]);
        await expectNoDifference(instance);
      }
    });

    test("to an earlier epoch: Redis is not said to be the older one, and gets a new epoch and new ids", async () => {
      const kept = clicks("kept", 5);
      const a = await cluster.site.start();
      await a.take(...kept);
      await a.drained();
      await backUp();
      await cluster.site.flushRedis();
      await a.takeInTheEnd(...namedClicks("lost", 3));
      await a.drained();
      const epoch = await a.stores.cold.epoch();
      await a.stop();
      await restore();
      expect(await a.stores.cold.epoch().catch(() => 0)).toBeLessThan(epoch);
      // As many, of an instance at another master: they hide how many are lost.
      const others = clicks("other", 3);
      await cluster.site.create().stores.cold.flush("other", [journaledBatchOf(1, others)]);
      const b = await cluster.site.start();
      await waitFor("it to be noticed", () => noticed(b));
      expect(b.log.has("the hot store holds an earlier state")).toBe(false);
      await b.takeInTheEnd(named("lost-0"));
      expect(b.pipeline.ledger.duplicates).toBe(0);
      await b.serves(hourAt(NOON));
      await expectReads(b, [...kept, ...others, named("lost-0")]);
      await cluster.site.expectStored([...kept, ...others, named("lost-0")]);
      expect(await b.stores.cold.epoch()).toBe(epoch + 1);
      await expectNoDifference(b);
    });
  });
});

/** The journal of an instance that died is adopted. */
import { describe, expect, test } from "bun:test";
import { type Event, HOUR_MS } from "../../../src/domain/event.ts";
import { Ledger } from "../../../src/domain/ledger.ts";
import { adoptJournals } from "../../../src/pipeline/upkeep/journal-adoption.ts";
import { coldShard } from "../../../src/store/cold-shard.ts";
import {
  click,
  clicks,
  expectReads,
  type Instance,
  type Interceptor,
  RecordedLog,
  unavailable,
} from "../../harness/pipeline/pipeline-harness.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import { describeFaults, flushesFail } from "./faults-setup.ts";

describeFaults((cluster) => {
  describe("adoption", () => {
    /** An instance that was killed with a backlog of this many batches of three events. */
    async function deadWithBacklog(name: string, batchCount: number): Promise<Event[]> {
      const a = await cluster.site.start({ leaseMs: 100 });
      a.guard.intercept = flushesFail;
      const taken: Event[] = [];
      for (let i = 0; i < batchCount; i++) {
        await a.take(...clicks(`${name}-${i}`, 3));
        taken.push(...clicks(`${name}-${i}`, 3));
      }
      cluster.site.kill(a);
      return taken;
    }

    test("by two at once, and both in small steps: each event once", async () => {
      const taken: Event[] = [];
      const adopters = [cluster.site.create(), cluster.site.create()];
      const ledger = new Ledger();
      await Promise.all(adopters.map(({ stores }) => Promise.all([stores.hot.open(), stores.cold.open()])));
      for (let round = 0; round < 4; round++) {
        taken.push(...(await deadWithBacklog(`round-${round}`, 20)));
        const adopt = ({ stores }: Instance) =>
          adoptJournals({
            ...{ hot: stores.hot, cold: coldShard(stores.cold, 0, 1) },
            ...{ log: new RecordedLog(), ledger, flushMaxEvents: 4 },
          });
        await waitFor("the lease to run out", async () => {
          await Promise.all(adopters.map(adopt));
          return (await cluster.site.journals()).length === 0;
        });
        await cluster.site.expectStored(taken);
        expect(ledger.adopted).toBe(taken.length);
      }
    });

    test("one that was begun and not ended is ended by the next", async () => {
      const taken = await deadWithBacklog("u", 20);
      const b = await cluster.site.start({ leaseMs: 100, flushMaxEvents: 6 });
      let flushes = 0;
      const failsLater: Interceptor = async (call) => {
        if (call.method === "flush") flushes += 1;
        if (flushes === 4) throw unavailable(call.store);
        return await call.proceed();
      };
      b.guard.intercept = failsLater;
      await waitFor("the fourth flush", () => flushes >= 4);
      cluster.site.kill(b);
      const c = await cluster.site.start({ leaseMs: 100 });
      await cluster.site.expectStored(taken);
      await expectReads(c, taken);
      await waitFor("one journal to be left", async () => (await cluster.site.journals()).length === 1);
    });

    test("while another instance sets up the data set: hours of that journal are not taken for empty", async () => {
      const taken = await deadWithBacklog("u", 3);
      const adopter = cluster.site.create();
      const { hot, cold } = adopter.stores;
      await Promise.all([hot.open(), cold.open()]);
      const adopt = () =>
        adoptJournals({
          ...{ hot, cold: coldShard(cold, 0, 1) },
          ...{ log: new RecordedLog(), ledger: new Ledger(), flushMaxEvents: 1_000 },
        });
      await hot.discard(await coldShard(cold, 0, 1).epoch());
      let looks = 0;
      // The first look finds no journal, as if the writer still lived. It is adopted when the latest hour
      // has just been read.
      const b = await cluster.site.start({}, async (call) => {
        if (call.method === "journalOwners" && ++looks === 1) return [];
        const answer = await call.proceed();
        if (call.method === "newestHour") await adopt();
        return answer;
      });
      await cluster.site.expectStored(taken);
      await expectReads(b, taken);
    });

    test("of many writers that died one after the other, with hours that continue", async () => {
      const taken: Event[] = [];
      for (let i = 0; i < 5; i++) taken.push(...(await deadWithBacklog(`dead-${i}`, 3)));
      const a = await cluster.site.start({ leaseMs: 100 });
      await expectReads(a, taken);
      await a.take(click("later"));
      taken.push(click("later"));
      await cluster.site.expectStored(taken);
      await expectReads(a, taken);
      cluster.site.clock.advance(24 * HOUR_MS);
      await waitFor("the hour to be retired", async () => (await a.pipeline.retire()) === 1);
      await expectReads(a, taken);
    });
  });
});

/** An instance that is frozen for longer than its lease, and wakes. */

import { describe, expect, test } from "bun:test";
import type { Outcome } from "../../../src/domain/refusal-reasons.ts";
import { HotUnavailableError } from "../../../src/store/hot.ts";
import {
  click,
  clicks,
  expectReads,
  type Instance,
  type Interceptor,
  onMethod,
} from "../../harness/pipeline/pipeline-harness.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import { describeFaults, flushesFail, Load, named, SHORT_LEASE_MS } from "./faults-setup.ts";

describeFaults((cluster) => {
  describe("an instance that is frozen and wakes", () => {
    test("its journal is adopted; it is fenced, continues under a new writer, and nothing doubles", async () => {
      const a = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
      a.guard.intercept = flushesFail;
      const taken = clicks("before", 20);
      await a.take(...taken);
      const { writer } = a.pipeline;
      a.guard.freeze();
      const b = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
      await cluster.site.expectStored(taken);
      await b.take(click("meanwhile"));
      a.guard.intercept = undefined;
      a.guard.thaw();
      await a.takeInTheEnd(named("after"));
      taken.push(click("meanwhile"), named("after"));
      expect(a.pipeline.writer).not.toBe(writer!);
      await Promise.all([a.drained(), b.drained()]);
      await cluster.site.expectStored(taken);
      await expectReads(a, taken);
      await expectReads(b, taken);
      const { accepted, persisted, handedOver, lost } = a.pipeline.ledger;
      expect({ accepted, both: persisted + handedOver, lost }).toEqual({ accepted: 21, both: 21, lost: 0 });
    });

    /** Frozen with a commit under way, adopted meanwhile, and woken. Answers what became of the commit. */
    async function wakenWithCommit(a: Instance, b: Instance, commit: Interceptor): Promise<Outcome[]> {
      const reached = Promise.withResolvers<void>();
      a.guard.intercept = onMethod("hot.commit", (call) => {
        reached.resolve();
        return commit(call);
      });
      const outcomes = a.submit(named("x"), click("plain"));
      await reached.promise;
      const { writer } = a.pipeline;
      a.guard.freeze();
      b.guard.thaw();
      await waitFor("its journal to be adopted", async () => !(await cluster.site.journals()).includes(writer!));
      a.guard.intercept = undefined;
      a.guard.thaw();
      return await outcomes;
    }

    /** One that is to be frozen, and one that adopts its journal, but not before it is thawed. */
    async function freezable(): Promise<{ a: Instance; b: Instance }> {
      const b = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
      const a = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
      await a.take(click("before"));
      await a.drained();
      b.guard.freeze();
      return { a, b };
    }

    test("frozen before its commit arrived: that is fenced, and sent under the new writer", async () => {
      const { a, b } = await freezable();
      const isAdopted = Promise.withResolvers<void>();
      const outcomes = wakenWithCommit(a, b, async (call) => {
        await isAdopted.promise;
        return await call.proceed();
      });
      const { writer } = a.pipeline;
      await waitFor("its journal to be adopted", async () => !(await cluster.site.journals()).includes(writer!));
      isAdopted.resolve();
      expect(await outcomes).toEqual([undefined, undefined]);
      expect(a.pipeline.writer).not.toBe(writer!);
      await cluster.site.expectStored([click("before"), named("x"), click("plain")]);
      await expectReads(b, [click("before"), named("x"), click("plain")]);
      expect(a.pipeline.ledger.accepted).toBe(3);
    });

    test("frozen before the answer to its commit arrived: stored once", async () => {
      const { a, b } = await freezable();
      expect(await wakenWithCommit(a, b, (call) => call.proceed())).toEqual([undefined, undefined]);
      await a.takeInTheEnd(named("after"));
      await a.drained();
      await cluster.site.expectStored([click("before"), named("x"), click("plain"), named("after")]);
      await expectReads(b, [click("before"), named("x"), click("plain"), named("after")]);
      const { accepted, persisted, handedOver } = a.pipeline.ledger;
      expect([accepted, persisted + handedOver]).toEqual([4, 4]);
    });

    test("frozen, and the answer to its commit lost: the adopter has it, and it is answered as stored", async () => {
      const { a, b } = await freezable();
      const isLate = performance.now() + 2_000;
      const outcomes = await wakenWithCommit(a, b, async (call) => {
        await call.proceed();
        await waitFor("the deadline of the commit to pass", () => performance.now() > isLate);
        throw new HotUnavailableError("the answer was lost", true);
      });
      expect(outcomes).toEqual([undefined, undefined]);
      await cluster.takesEvents(a);
      await cluster.expectKnown(a, [named("x")]);
      await cluster.site.expectStored([click("before"), named("x"), click("plain")]);
      await expectReads(b, [click("before"), named("x"), click("plain")]);
      const { accepted, persisted, handedOver } = a.pipeline.ledger;
      expect([accepted, persisted, handedOver]).toEqual([3, 1, 2]);
    });

    test("frozen in the middle of a flush: what the adopter stored is not stored again", async () => {
      const a = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
      const reached = Promise.withResolvers<void>();
      const go = Promise.withResolvers<void>();
      a.guard.intercept = onMethod("cold.flush", async (call) => {
        reached.resolve();
        await go.promise;
        return await call.proceed();
      });
      await a.take(...clicks("u", 10));
      await reached.promise;
      a.guard.freeze();
      const b = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
      await cluster.site.expectStored(clicks("u", 10));
      go.resolve();
      a.guard.intercept = undefined;
      a.guard.thaw();
      await a.takeInTheEnd(named("after"));
      await a.drained();
      await cluster.site.expectStored([...clicks("u", 10), named("after")]);
      await expectReads(b, [...clicks("u", 10), named("after")]);
    });

    test("frozen again and again under load, by turns", async () => {
      const settings = { leaseMs: SHORT_LEASE_MS };
      const instances = await Promise.all([cluster.site.start(settings), cluster.site.start(settings)]);
      const load = new Load("u", ...instances);
      for (let round = 0; round < 6; round++) {
        const frozen = instances[round % 2]!;
        const other = instances[(round + 1) % 2]!;
        await load.more(50);
        const writer = frozen.pipeline.writer!;
        frozen.guard.freeze();
        await waitFor("its journal to be adopted", async () => !(await cluster.site.journals()).includes(writer));
        frozen.guard.thaw();
        await waitFor("it to go on under another name", () => frozen.pipeline.writer !== writer);
        expect(other.log.entries.filter(({ level }) => level === "error")).toEqual([]);
      }
      const taken = await load.end();
      await Promise.all(instances.map((instance) => instance.drained()));
      await cluster.site.expectStored(taken);
      for (const instance of instances) await expectReads(instance, taken);
    });
  });
});

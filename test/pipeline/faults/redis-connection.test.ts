/** A connection to Redis that is cut, silent or slow. */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import type { Event } from "../../../src/domain/event.ts";
import { click, clicks, expectReads, hourAt, NOON } from "../../harness/pipeline/pipeline-harness.ts";
import type { TcpProxy } from "../../harness/servers/tcp-proxy.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import {
  describeFaults,
  Load,
  MARK,
  msOf,
  named,
  namedClicks,
  PATIENCE_MS,
  SLOW_TEST_MS,
} from "./faults-setup.ts";

setDefaultTimeout(SLOW_TEST_MS);

describeFaults((cluster) => {
  describe("the connection to Redis", () => {
    test("cut before a commit reached it: the commit is sent again, and counts once", async () => {
      const proxy = await cluster.behindRedisProxy();
      const a = await cluster.site.start();
      let cuts = 0;
      proxy.onUpstream = (chunk, connection) => {
        if (cuts > 0 || !chunk.includes(MARK)) return true;
        cuts += 1;
        connection.cut();
        return false;
      };
      await a.takeInTheEnd(named("x", MARK));
      expect(cuts).toBe(1);
      await expectReads(a, [named("x", MARK)]);
      await cluster.expectKnown(a, [named("x", MARK)]);
      await cluster.site.expectStored([named("x", MARK)]);
    });

    /** Lets the marked commit through, and does something else than letting its answer through, once. */
    function loseAnswer(proxy: TcpProxy, loss: "cut" | "drop"): { losses: number } {
      const seen = { losses: 0, isMarked: false };
      proxy.onUpstream = (chunk) => {
        seen.isMarked ||= seen.losses === 0 && chunk.includes(MARK);
        return true;
      };
      proxy.onDownstream = (_, connection) => {
        if (!seen.isMarked) return true;
        seen.isMarked = false;
        seen.losses += 1;
        if (loss === "cut") connection.cut();
        return false;
      };
      return seen;
    }

    for (const loss of ["cut", "drop"] as const) {
      test(`its answer to a commit lost (${loss}): asked again under the same seq, counted once`, async () => {
        const proxy = await cluster.behindRedisProxy();
        const a = await cluster.site.start();
        // On a busy machine the second attempt may come too late, and the events are refused: once more then.
        const taken: Event[] = [];
        let isTaken = false;
        for (let round = 0; round < 5 && !isTaken; round++) {
          const seen = loseAnswer(proxy, loss);
          const seqsBefore = await seqs();
          const events = [named(`x-${round}`, MARK), click(`${MARK} too`)];
          const outcomes = await a.submit(...events);
          expect(seen.losses).toBe(1);
          isTaken = outcomes[0] === undefined;
          await cluster.takesEvents(a);
          if (!isTaken) continue;
          taken.push(...events);
          await a.drained();
          expect(await seqs()).toBe(seqsBefore + 1);
        }
        expect(isTaken).toBe(true);
        await expectReads(a, taken);
        await cluster.site.expectStored(taken);
      });
    }

    async function seqs(): Promise<number> {
      return (await cluster.site.watermarks()).reduce((sum, { seq }) => sum + seq, 0);
    }

    test("no answers at all: refused in time, and what had been applied is taken back", async () => {
      const proxy = await cluster.behindRedisProxy();
      const a = await cluster.site.start();
      await a.take(click("before"));
      proxy.dropAnswers();
      const refused = [...namedClicks("x", 3), ...clicks("plain", 3)];
      const outcomes = a.submit(...refused);
      expect(await msOf(outcomes)).toBeLessThan(PATIENCE_MS);
      expect((await outcomes).map((outcome) => outcome?.reason)).toEqual(Array(6).fill("hot_store_away"));
      // At once, as it is known by now.
      expect(await a.submit(click("w"))).toEqual([{ reason: "hot_store_away", retryAfterS: 1 }]);
      proxy.onDownstream = undefined;
      proxy.cutAll();
      await cluster.takesEvents(a);
      const { clicks: counted } = await a.read(hourAt(NOON));
      expect(counted).toBe(1);
      expect(a.log.has("took back refused events")).toBe(true);
      await a.take(...refused);
      expect(a.pipeline.ledger.duplicates).toBe(0);
      await cluster.site.expectStored([click("before"), ...refused]);
      expect((await a.read(hourAt(NOON))).clicks).toBe(7);
    });

    test("what was refused here and was answered as stored elsewhere meanwhile counts", async () => {
      const b = await cluster.site.start();
      const proxy = await cluster.behindRedisProxy();
      const a = await cluster.site.start();
      proxy.dropAnswers();
      const outcomes = await a.submit(named("x"), named("y"), named("z"));
      expect(outcomes.map((outcome) => outcome?.reason)).toEqual(Array(3).fill("hot_store_away"));
      await cluster.expectKnown(b, [named("y")]);
      proxy.onDownstream = undefined;
      proxy.cutAll();
      await cluster.takesEvents(a);
      await cluster.site.expectStored([named("y")]);
      expect((await b.read(hourAt(NOON))).clicks).toBe(1);
      await b.take(named("x"), named("y"), named("z"));
      await cluster.site.expectStored([named("x"), named("y"), named("z")]);
      await expectReads(a, [named("x"), named("y"), named("z")]);
    });

    test("cut at every commit for a while, under load", async () => {
      const proxy = await cluster.behindRedisProxy();
      const a = await cluster.site.start();
      const load = new Load("u", a);
      let chunks = 0;
      proxy.onUpstream = (_, connection) => {
        chunks += 1;
        if (chunks % 40 !== 0) return true;
        connection.cut();
        return false;
      };
      proxy.onDownstream = (_, connection) => {
        chunks += 1;
        if (chunks % 33 !== 0) return true;
        connection.cut();
        return false;
      };
      await load.more(500);
      proxy.onUpstream = undefined;
      proxy.onDownstream = undefined;
      const taken = await load.end();
      await a.drained();
      await cluster.site.expectStored(taken);
      expect((await a.read(hourAt(NOON))).clicks).toBe(taken.length);
    });

    test("one connection an instance is left after many were lost", async () => {
      const proxy = await cluster.behindRedisProxy();
      const a = await cluster.site.start();
      for (let round = 0; round < 5; round++) {
        await cluster.site.flushRedis();
        proxy.cutAll();
        await a.takeInTheEnd(click(`u-${round}`));
      }
      await waitFor("one connection", () => proxy.connectionCount === 1);
      await a.stop();
      await waitFor("no connection", () => proxy.connectionCount === 0);
    });
  });
});

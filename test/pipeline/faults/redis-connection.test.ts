/** A connection to Redis that is cut, silent or slow. */
import { describe, expect, test } from "bun:test";
import { click, clicks, expectReads, hourAt, NOON } from "../../harness/pipeline/pipeline-harness.ts";
import type { TcpProxy } from "../../harness/servers/tcp-proxy.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import { describeFaults, Load, MARK, named, namedClicks, PATIENCE_MS } from "./faults-setup.ts";

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
        const seen = loseAnswer(proxy, loss);
        const taken = [named("x", MARK), click(`${MARK} too`)];
        await a.take(...taken);
        expect(seen.losses).toBe(1);
        await a.drained();
        expect((await cluster.site.watermarks()).map(({ seq }) => seq)).toEqual([1]);
        await expectReads(a, taken);
        await cluster.site.expectStored(taken);
      });
    }

    test("no answers at all: new events are refused in time, those sent are answered in the end", async () => {
      const proxy = await cluster.behindRedisProxy();
      const a = await cluster.site.start();
      await a.take(click("before"));
      proxy.dropAnswers();
      const sent = [...namedClicks("x", 3), ...clicks("plain", 3)];
      const outcomes = a.submit(...sent);
      await waitFor("new events to be refused", () => a.pipeline.refusal !== undefined, {
        timeoutMs: PATIENCE_MS,
      });
      // At once, as it is known by now.
      expect(await a.submit(click("w"))).toEqual([{ reason: "hot_store_away", retryAfterS: 1 }]);
      proxy.onDownstream = undefined;
      proxy.cutAll();
      expect(await outcomes).toEqual(Array(6).fill(undefined));
      await cluster.takesEvents(a);
      await expectReads(a, [click("before"), ...sent]);
      await cluster.expectKnown(a, namedClicks("x", 3));
      await cluster.site.expectStored([click("before"), ...sent]);
      expect(a.pipeline.ledger).toMatchObject({ accepted: 7, unknown: 0 });
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

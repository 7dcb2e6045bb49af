/** A Redis that is killed, frozen or unavailable. */
import { describe, expect, test } from "bun:test";
import { answerOf, click, clicks, expectReads, hourAt, NOON } from "../../harness/pipeline/pipeline-harness.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import {
  describeFaults,
  flushesFail,
  Load,
  msOf,
  namedClicks,
  PATIENCE_MS,
  SHORT_LEASE_MS,
  Watch,
} from "./faults-setup.ts";

describeFaults((cluster) => {
  describe("Redis", () => {
    test("frozen for longer than a commit may take: what was sent waits, what was not is refused in time", async () => {
      const a = await cluster.site.start();
      const taken = [click("before")];
      await a.take(...taken);
      for (let round = 0; round < 3; round++) {
        const sent = [...namedClicks(`x-${round}`, 3), ...clicks(`plain-${round}`, 3)];
        cluster.servers.redis.pause();
        const outcomes = a.submit(...sent);
        await waitFor("new events to be refused", () => a.pipeline.refusal !== undefined, {
          timeoutMs: PATIENCE_MS,
        });
        const late = a.submit(click("late"));
        expect(await msOf(late)).toBeLessThan(PATIENCE_MS);
        cluster.servers.redis.resume();
        expect(await late).toEqual([{ reason: "hot_store_away", retryAfterS: 1 }]);
        expect(await outcomes).toEqual(Array(6).fill(undefined));
        await cluster.takesEvents(a);
        taken.push(...sent);
        expect((await a.read(hourAt(NOON))).clicks).toBe(taken.length);
      }
      expect(a.pipeline.ledger.duplicates).toBe(0);
      await cluster.site.expectStored(taken);
      expect((await a.read(hourAt(NOON))).clicks).toBe(taken.length);
    });

    test("frozen: reads fall back to the cold store, say so, and are whole again afterwards", async () => {
      const a = await cluster.site.start();
      await a.take(...clicks("u", 5));
      await a.drained();
      cluster.servers.redis.pause();
      const reading = a.read(hourAt(NOON));
      expect(await msOf(reading)).toBeLessThan(PATIENCE_MS);
      expect(await reading).toEqual(answerOf(clicks("u", 5), true));
      cluster.servers.redis.resume();
      await a.serves(hourAt(NOON));
      await expectReads(a, clicks("u", 5));
    });

    for (const fsync of ["everysec", "always"]) {
      test(`killed and started again under load (appendfsync ${fsync})`, async () => {
        await cluster.site.redis("CONFIG", "SET", "appendfsync", fsync);
        const a = await cluster.site.start();
        const load = new Load("u", a);
        const watch = new Watch(a, load);
        for (let round = 0; round < 3; round++) {
          await load.more(100);
          await cluster.servers.redis.kill();
          expect(await msOf(a.submit(click("while it is away")))).toBeLessThan(PATIENCE_MS);
          await cluster.servers.redis.start();
        }
        await load.more(100);
        const taken = await load.end();
        await watch.end();
        expect(watch.wrong).toEqual([]);
        await expectReads(a, taken);
        await cluster.site.expectStored(taken);
        expect(await cluster.site.journals()).toEqual([a.pipeline.writer!]);
      });
    }

    test("unavailable at the stop: ends in time, and the next instance finds everything", async () => {
      const a = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
      a.guard.intercept = flushesFail;
      await a.take(...clicks("u", 10));
      cluster.servers.redis.pause();
      const sent = a.submit(click("sent"));
      await waitFor("new events to be refused", () => a.pipeline.refusal !== undefined);
      expect((await a.submit(click("refused")))[0]?.reason).toBe("hot_store_away");
      await a.stop();
      expect((await sent)[0]?.reason).toBe("outcome_unknown");
      expect(a.log.has("the writer's end could not be recorded")).toBe(true);
      cluster.servers.redis.resume();
      await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
      await waitFor("the rows", async () => (await cluster.site.cold.countEvents()) >= 10);
      // The adopter of the journal settles what was sent: it is there once, or never.
      const rows = await cluster.site.cold.events();
      expect(
        rows
          .filter(({ user }) => user !== "sent")
          .map(({ user }) => user)
          .sort(),
      ).toEqual(clicks("u", 10).map(({ user }) => user));
    });

    test("full, and not initialized: its hours make room first, and no epoch is begun before there is", async () => {
      const a = await cluster.site.start();
      await a.take(...clicks("flushed", 5));
      await a.drained();
      a.guard.intercept = flushesFail;
      await a.take(...clicks("in the journal", 3));
      const calls = { beginEpoch: 0, discard: 0 };
      a.guard.intercept = async (call) => {
        if (call.method === "beginEpoch" || call.method === "discard") calls[call.method] += 1;
        return await call.proceed();
      };
      await cluster.site.redis("CONFIG", "SET", "maxmemory", "1");
      try {
        await cluster.site.redis("DEL", "hg:{0}:meta");
        await waitFor("some tries to set it up", () => calls.discard >= 5);
        expect(calls.beginEpoch).toBe(0);
        expect(await cluster.site.redis("EXISTS", "hg:{0}:hours", "hg:{0}:writers")).toBe(0);
        expect(a.pipeline.refusal).toBe("hot_store_away");
      } finally {
        await cluster.site.redis("CONFIG", "SET", "maxmemory", "0");
      }
      await cluster.takesEvents(a);
      expect(calls.beginEpoch).toBeGreaterThan(0);
      const taken = [...clicks("flushed", 5), ...clicks("in the journal", 3)];
      await cluster.site.expectStored(taken);
      await a.serves(hourAt(NOON));
      await expectReads(a, taken);
    });
  });
});

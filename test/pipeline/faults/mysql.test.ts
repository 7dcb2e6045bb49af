/** A MySQL that is unavailable, cut off or killed. */
import { describe, expect, test } from "bun:test";
import { type Event, HOUR_MS } from "../../../src/domain/event.ts";
import { click, clicks, expectReads, type Instance } from "../../harness/pipeline/pipeline-harness.ts";
import { isCommit } from "../../harness/servers/tcp-proxy.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import { describeFaults, named } from "./faults-setup.ts";

describeFaults((cluster) => {
  describe("MySQL", () => {
    /** Goes on taking and reading events during a fault of the cold store, and checks all of it afterwards. */
    async function takenDuring(a: Instance, fault: () => unknown, cure: () => unknown): Promise<void> {
      const taken = clicks("before", 10);
      await a.take(...taken);
      await a.drained();
      await fault();
      for (const event of clicks("during", 50)) {
        await a.take(event);
        taken.push(event);
        await expectReads(a, taken);
      }
      await waitFor("a flush to fail", () => a.pipeline.flushError);
      await a.take(click("after the failure"));
      taken.push(click("after the failure"));
      expect(a.pipeline.refusal).toBeUndefined();
      await cure();
      await a.drained();
      await expectReads(a, taken);
      await cluster.site.expectStored(taken);
      await waitFor("the failure to be over", () => a.pipeline.flushError === undefined);
    }

    test("killed and started again", async () => {
      const a = await cluster.site.start();
      await takenDuring(
        a,
        () => cluster.servers.mariaDb.kill(),
        () => cluster.servers.mariaDb.start(),
      );
    });

    test("frozen", async () => {
      const a = await cluster.site.start();
      await takenDuring(
        a,
        () => cluster.servers.mariaDb.pause(),
        () => cluster.servers.mariaDb.resume(),
      );
    });

    test("read-only", async () => {
      await cluster.site.runSql("CREATE USER IF NOT EXISTS app@'%'");
      await cluster.site.runSql("GRANT ALL ON `test\\_%`.* TO app@'%'");
      cluster.site.reach({ mysqlUser: "app" });
      const a = await cluster.site.start();
      await takenDuring(
        a,
        () => cluster.site.runSql("SET GLOBAL read_only = 1"),
        () => cluster.site.runSql("SET GLOBAL read_only = 0"),
      );
    });

    test("its port closed, and every connection cut", async () => {
      const proxy = await cluster.behindMysqlProxy();
      const a = await cluster.site.start();
      const cutOff = () => {
        proxy.refuse();
        proxy.cutAll();
      };
      await takenDuring(a, cutOff, () => proxy.accept());
    });

    for (const loss of ["cut", "drop"] as const) {
      test(`its answers to COMMIT lost (${loss}), several times running: stored once`, async () => {
        const proxy = await cluster.behindMysqlProxy();
        const a = await cluster.site.start();
        let losses = 0;
        let isCommitting = false;
        proxy.onUpstream = (chunk) => {
          isCommitting ||= losses < 3 && isCommit(chunk);
          return true;
        };
        proxy.onDownstream = (_, connection) => {
          if (!isCommitting) return true;
          isCommitting = false;
          losses += 1;
          if (loss === "cut") connection.cut();
          return false;
        };
        const taken: Event[] = [];
        for (let round = 0; round < 5; round++) {
          await a.take(...clicks(`round-${round}`, 10));
          taken.push(...clicks(`round-${round}`, 10));
          await waitFor("the flush", async () => (await cluster.site.cold.countEvents()) >= taken.length);
        }
        await a.drained();
        expect(losses).toBe(3);
        await cluster.site.expectStored(taken);
        expect(a.pipeline.ledger.persisted).toBe(50);
      });
    }

    test("unavailable at the turn of the hour, and for hours after", async () => {
      const a = await cluster.site.start({ hotHours: 2 });
      const taken = clicks("before", 5);
      await a.take(...taken);
      await a.drained();
      await cluster.servers.mariaDb.kill();
      for (let hour = 1; hour <= 4; hour++) {
        cluster.site.clock.advance(HOUR_MS);
        await a.pipeline.retire();
        const events = clicks(`hour-${hour}`, 10, cluster.site.clock.ms);
        await a.take(...events);
        taken.push(...events);
        await expectReads(a, events);
      }
      await cluster.servers.mariaDb.start();
      await a.drained();
      await cluster.site.expectStored(taken);
      await expectReads(a, taken);
    });

    test("frozen: a late event for an hour that has to be fetched delays no other", async () => {
      const a = await cluster.site.start({ hotHours: 1 });
      await a.take(click("old"));
      await a.drained();
      cluster.site.clock.advance(5 * HOUR_MS);
      await waitFor("the hour to be retired", async () => (await a.pipeline.retire()) === 1);
      cluster.servers.mariaDb.pause();
      const order: string[] = [];
      const late = a.submit(click("late")).finally(() => order.push("late"));
      for (const event of clicks("now", 20, cluster.site.clock.ms)) {
        await a.take(event);
        order.push("now");
      }
      expect((await late).map((outcome) => outcome?.reason)).toEqual(["cold_store_away"]);
      expect(order).toEqual([...Array(20).fill("now"), "late"]);
      cluster.servers.mariaDb.resume();
      await a.takeInTheEnd(named("late"));
      await a.drained();
      await expectReads(a, [click("old"), named("late")]);
      await cluster.site.expectStored([click("old"), named("late"), ...clicks("now", 20, cluster.site.clock.ms)]);
    });

    test("unavailable at the start: events are accepted as soon as it is available", async () => {
      await cluster.servers.mariaDb.kill();
      const a = await cluster.site.start();
      expect((await a.submit(click("u")))[0]?.reason).toBe("cold_store_away");
      await cluster.servers.mariaDb.start();
      await cluster.takesEvents(a);
      await a.take(click("u"));
      await cluster.site.expectStored([click("u")]);
    });

    test("unavailable at the start, with an initialized data set: events are accepted immediately", async () => {
      const first = await cluster.site.start();
      await first.take(click("before"));
      await first.stop();
      await cluster.servers.mariaDb.kill();
      const a = await cluster.site.start();
      await a.take(click("during"));
      await expectReads(a, [click("before"), click("during")]);
      await cluster.servers.mariaDb.start();
      await cluster.site.expectStored([click("before"), click("during")]);
    });
  });
});

/**
 * Stored, refused, unknown: a refused event never counts, a stored one counts once, one of unknown outcome at most
 * once. The scenes in which an earlier build broke that, by name.
 */

import { describe, expect, test } from "bun:test";
import { type Event, HOUR_MS } from "../../../src/domain/event.ts";
import type { Outcome } from "../../../src/domain/refusal-reasons.ts";
import {
  click,
  clicks,
  coldStoreAway,
  expectReads,
  type Instance,
  NOON,
  onMethod,
  STREAM,
  unavailable,
} from "../../harness/pipeline/pipeline-harness.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import { describeFaults, flushesFail, named, namedClicks, SHORT_LEASE_MS } from "./faults-setup.ts";

const OUTCOME_TIMEOUT_MS = 1_500;

/** The answers that clients got, in order. */
class Answers {
  readonly refused: Event[] = [];
  readonly unknown: Event[] = [];
  readonly stored: Event[] = [];
  open = 0;

  submit(instance: Instance, events: readonly Event[]): void {
    for (const event of events) {
      this.open += 1;
      void instance.pipeline.submit(event).then((outcome) => this.#note(event, outcome));
    }
  }

  #note(event: Event, outcome: Outcome): void {
    this.open -= 1;
    if (outcome === undefined) this.stored.push(event);
    else if (outcome.reason === "outcome_unknown") this.unknown.push(event);
    else this.refused.push(event);
  }
}

function usersOf(events: readonly { readonly user: string }[]): string[] {
  return events.map(({ user }) => user).sort();
}

describeFaults((cluster) => {
  const rowsOf = async (events: readonly Event[]) => {
    const users = new Set(usersOf(events));
    return usersOf(await cluster.site.cold.events()).filter((user) => users.has(user));
  };

  const refuses = (a: Instance) => waitFor("events to be refused", () => a.pipeline.refusal !== undefined);

  /** `a` gets no answer to 20 events with ids, which are applied, and `b` acknowledges them as duplicates. */
  const acknowledgedElsewhere = async () => {
    const b = await cluster.site.start();
    const proxy = await cluster.behindRedisProxy();
    const a = await cluster.site.start({ outcomeTimeoutMs: OUTCOME_TIMEOUT_MS });
    await b.take(click("before"));
    await b.drained();
    proxy.dropAnswers();
    const outcomes = await a.submit(...namedClicks("sent", 20));
    expect(outcomes.map((outcome) => outcome?.reason)).toEqual(Array(20).fill("outcome_unknown"));
    await b.take(...namedClicks("sent", 20));
    expect(b.pipeline.ledger.duplicates).toBe(20);
    return { a, b, proxy };
  };

  const adoptedBy = async (b: Instance, writer: string) => {
    await waitFor("the journal to be adopted", async () => !(await cluster.site.journals()).includes(writer));
    await b.drained();
  };

  describe("three answers", () => {
    test("row 2: Redis frozen, the instance killed, Redis thawed: nothing that was refused is a row", async () => {
      const a = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
      await a.take(click("before"));
      await a.drained();
      const { writer } = a.pipeline;
      const answers = new Answers();
      cluster.servers.redis.pause();
      answers.submit(a, clicks("sent", 1_000));
      await refuses(a);
      answers.submit(a, clicks("late", 100));
      await waitFor("the refusals", () => answers.refused.length >= 100);
      cluster.site.kill(a);
      cluster.servers.redis.resume();
      const b = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
      await adoptedBy(b, writer!);
      expect(await rowsOf(answers.refused)).toEqual([]);
      // Sent, and not answered by anybody: once or never, and here the server had got it.
      expect((await rowsOf(clicks("sent", 1_000))).length).toBe(1_000);
    });

    test("row 3: cut off for longer than its lease, and adopted: nothing that was refused is a row", async () => {
      const b = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
      const proxy = await cluster.behindRedisProxy();
      const a = await cluster.site.start({ leaseMs: SHORT_LEASE_MS, outcomeTimeoutMs: OUTCOME_TIMEOUT_MS });
      await a.take(click("before"));
      await a.drained();
      const { writer } = a.pipeline;
      const answers = new Answers();
      proxy.dropAnswers();
      answers.submit(a, clicks("sent", 100));
      await refuses(a);
      answers.submit(a, clicks("late", 100));
      await waitFor("all answers", () => answers.open === 0);
      proxy.refuse();
      proxy.cutAll();
      await adoptedBy(b, writer!);
      proxy.onDownstream = undefined;
      await proxy.accept();
      await waitFor("events to be taken again", () => a.pipeline.refusal === undefined);
      expect(usersOf(answers.refused)).toEqual(usersOf(clicks("late", 100)));
      expect(await rowsOf(answers.refused)).toEqual([]);
      expect(usersOf(answers.unknown)).toEqual(usersOf(clicks("sent", 100)));
      expect(await rowsOf(answers.unknown)).toEqual(usersOf(clicks("sent", 100)));
      const { accepted, handedOver, unknown, unknownStored, inDoubt } = a.pipeline.ledger;
      expect({ accepted, handedOver, unknown, unknownStored, inDoubt }).toEqual({
        ...{ accepted: 101, handedOver: 100, unknown: 100, unknownStored: 100, inDoubt: 0 },
      });
      expect(a.pipeline.ledger.pending).toBe(a.pipeline.pending.events);
    });

    test("row 4: a refusal that is repeated at another instance, as a balancer does, counts once", async () => {
      const b = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
      const proxy = await cluster.behindRedisProxy();
      const a = await cluster.site.start({ leaseMs: SHORT_LEASE_MS, outcomeTimeoutMs: OUTCOME_TIMEOUT_MS });
      await a.take(click("before"));
      const { writer } = a.pipeline;
      proxy.dropAnswers();
      const events = clicks("balanced", 150);
      const outcomes = events.map(async (event) => {
        const outcome = await a.pipeline.submit(event);
        const isRepeated = outcome !== undefined && outcome.reason !== "outcome_unknown";
        return isRepeated ? await b.pipeline.submit(event) : outcome;
      });
      await refuses(a);
      const late = clicks("late", 50);
      for (const event of late) {
        expect((await a.pipeline.submit(event))?.reason).toBe("hot_store_away");
        await b.take(event);
      }
      await Promise.all(outcomes);
      cluster.site.kill(a);
      await adoptedBy(b, writer!);
      // Without ids: whatever was repeated had never been sent.
      expect(await rowsOf([...events, ...late])).toEqual(usersOf([...events, ...late]));
    });

    test("row 5: an outcome that was late leaves no user in a sketch who is in no row", async () => {
      const a = await cluster.site.start({ outcomeTimeoutMs: OUTCOME_TIMEOUT_MS });
      await a.take(click("before"));
      cluster.servers.redis.pause();
      const outcomes = a.submit(...clicks("late", 500));
      await refuses(a);
      expect((await outcomes).map((outcome) => outcome?.reason)).toEqual(Array(500).fill("outcome_unknown"));
      cluster.servers.redis.resume();
      await waitFor("events to be taken again", () => a.pipeline.refusal === undefined);
      const { unknown, unknownStored, accepted } = a.pipeline.ledger;
      expect({ unknown, unknownStored, accepted }).toEqual({
        ...{ unknown: 500, unknownStored: 500, accepted: 501 },
      });
      await expectReads(a, [click("before"), ...clicks("late", 500)]);
      await cluster.site.expectStored([click("before"), ...clicks("late", 500)]);
    });

    for (const [when, isLate] of Object.entries({ "in time": false, late: true })) {
      test(`row 6: a lost writer's batch is accepted without its duplicates (${when})`, async () => {
        const b = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
        const outcomeTimeoutMs = isLate ? OUTCOME_TIMEOUT_MS : 60_000;
        const a = await cluster.site.start({ leaseMs: SHORT_LEASE_MS, outcomeTimeoutMs });
        await a.take(...namedClicks("known", 50));
        await a.drained();
        const { writer } = a.pipeline;
        const isApplied = Promise.withResolvers<void>();
        const isCutOff = Promise.withResolvers<void>();
        a.guard.intercept = onMethod("hot.commit", async (call) => {
          await call.proceed();
          isApplied.resolve();
          await isCutOff.promise;
          throw new Error("the answer was lost");
        });
        const answers = new Answers();
        answers.submit(a, [...namedClicks("known", 50), ...clicks("new", 101)]);
        await isApplied.promise;
        if (isLate) await waitFor("the answers", () => answers.open === 0);
        a.guard.freeze();
        await adoptedBy(b, writer!);
        a.guard.intercept = undefined;
        isCutOff.resolve();
        a.guard.thaw();
        await waitFor("another writer", () => a.pipeline.writer !== undefined && a.pipeline.writer !== writer);
        await waitFor("the answers", () => answers.open === 0);
        expect(isLate ? answers.unknown.length : answers.stored.length).toBe(151);
        expect(answers.refused).toEqual([]);
        const { accepted, duplicates, persisted, handedOver, unknown, unknownStored, refused } = a.pipeline.ledger;
        expect({ accepted, duplicates, persisted: persisted + handedOver }).toEqual({
          ...{ accepted: 151, duplicates: 50, persisted: 151 },
        });
        expect([unknown, unknownStored]).toEqual(isLate ? [151, 151] : [0, 0]);
        expect(Object.values(refused).every((count) => count === 0)).toBe(true);
        await cluster.site.expectStored([...namedClicks("known", 50), ...clicks("new", 101)]);
      });
    }

    test("row 7: the same ids at two instances that get no answer: both unknown, and each is one row", async () => {
      const proxy = await cluster.behindRedisProxy();
      const settings = { outcomeTimeoutMs: OUTCOME_TIMEOUT_MS };
      const instances = await Promise.all([cluster.site.start(settings), cluster.site.start(settings)]);
      proxy.dropAnswers();
      const ids = namedClicks("x", 50);
      const answers = new Answers();
      for (const instance of instances) answers.submit(instance, ids);
      await waitFor("all answers", () => answers.open === 0);
      expect([answers.refused.length, answers.unknown.length]).toEqual([0, 100]);
      proxy.onDownstream = undefined;
      proxy.cutAll();
      for (const instance of instances) await cluster.takesEvents(instance);
      await cluster.site.expectStored(ids);
      await expectReads(instances[0]!, ids);
      const accepted = instances.map(({ pipeline }) => pipeline.ledger.accepted);
      expect(accepted[0]! + accepted[1]!).toBe(50);
    });

    test("emptied with a batch in doubt: it is sent under the next writer, and counts once", async () => {
      const proxy = await cluster.behindRedisProxy();
      const a = await cluster.site.start();
      await a.take(click("before"));
      await a.drained();
      proxy.dropAnswers();
      const outcomes = a.submit(...clicks("sent", 20));
      await refuses(a);
      await cluster.site.flushRedis();
      proxy.onDownstream = undefined;
      proxy.cutAll();
      expect(await outcomes).toEqual(Array(20).fill(undefined));
      await cluster.site.expectStored([click("before"), ...clicks("sent", 20)]);
      await a.serves({ stream: click("u").stream, hour: NOON });
      await expectReads(a, [click("before"), ...clicks("sent", 20)]);
    });

    test("no answer until it was emptied: unknown, and dropped once it is known not to be there", async () => {
      const proxy = await cluster.behindRedisProxy();
      const a = await cluster.site.start({ outcomeTimeoutMs: OUTCOME_TIMEOUT_MS });
      await a.take(click("before"));
      await a.drained();
      proxy.dropAnswers();
      const outcomes = await a.submit(...clicks("sent", 20));
      expect(outcomes.map((outcome) => outcome?.reason)).toEqual(Array(20).fill("outcome_unknown"));
      expect(a.pipeline.ledger.inDoubt).toBe(20);
      await cluster.site.flushRedis();
      proxy.onDownstream = undefined;
      proxy.cutAll();
      await cluster.takesEvents(a);
      expect(a.pipeline.ledger).toMatchObject({
        unknown: 20,
        unknownStored: 0,
        unknownUnstored: 20,
        inDoubt: 0,
      });
      await a.take(named("after"));
      await cluster.site.expectStored([click("before"), named("after")]);
    });

    test("no answer until it was emptied, and acknowledged by another instance as duplicates: stored", async () => {
      const { a, proxy } = await acknowledgedElsewhere();
      await cluster.site.flushRedis();
      proxy.onDownstream = undefined;
      proxy.cutAll();
      await waitFor("what was acknowledged to be stored", () => a.pipeline.ledger.inDoubt === 0);
      expect(a.pipeline.ledger).toMatchObject({ accepted: 20, unknown: 20, unknownStored: 20, unknownUnstored: 0 });
      await cluster.site.expectStored([click("before"), ...namedClicks("sent", 20)]);
      await a.serves({ stream: click("u").stream, hour: NOON });
      await expectReads(a, [click("before"), ...namedClicks("sent", 20)]);
    });

    test("the same, and the first instance cannot reach the cold store: stored once it can", async () => {
      const { a, b, proxy } = await acknowledgedElsewhere();
      a.guard.intercept = coldStoreAway;
      await cluster.site.flushRedis();
      await b.takeInTheEnd(click("after"));
      proxy.onDownstream = undefined;
      proxy.cutAll();
      await a.takeInTheEnd(click("meanwhile", NOON + HOUR_MS));
      expect(a.pipeline.ledger.inDoubt).toBe(20);
      const { isDegraded } = await a.read({ stream: STREAM, hour: NOON + HOUR_MS });
      expect(isDegraded).toBe(true);
      a.guard.intercept = undefined;
      await waitFor("what was acknowledged to be stored", () => a.pipeline.ledger.inDoubt === 0);
      expect(a.pipeline.ledger).toMatchObject({ accepted: 21, unknown: 20, unknownStored: 20, unknownUnstored: 0 });
      const taken = [click("before"), ...namedClicks("sent", 20), click("after"), click("meanwhile", NOON + HOUR_MS)];
      await cluster.site.expectStored(taken);
      await a.serves({ stream: STREAM, hour: NOON });
      await expectReads(a, taken);
    });

    test("stored by an adopter, while its instance cannot reach the cold store: it says so once it can", async () => {
      const b = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
      const proxy = await cluster.behindRedisProxy();
      const a = await cluster.site.start({ leaseMs: SHORT_LEASE_MS, outcomeTimeoutMs: OUTCOME_TIMEOUT_MS });
      a.guard.intercept = coldStoreAway;
      const { writer } = a.pipeline;
      proxy.dropAnswers();
      const outcomes = await a.submit(...clicks("sent", 20));
      expect(outcomes.map((outcome) => outcome?.reason)).toEqual(Array(20).fill("outcome_unknown"));
      proxy.refuse();
      proxy.cutAll();
      await adoptedBy(b, writer!);
      await cluster.site.flushRedis();
      await b.takeInTheEnd(click("after"));
      proxy.onDownstream = undefined;
      await proxy.accept();
      await a.takeInTheEnd(click("meanwhile", NOON + HOUR_MS));
      expect(a.pipeline.ledger.inDoubt).toBe(20);
      a.guard.intercept = undefined;
      await waitFor("the outcome to be known", () => a.pipeline.ledger.inDoubt === 0);
      expect(a.pipeline.ledger).toMatchObject({ accepted: 21, handedOver: 20, unknownStored: 20, unknownUnstored: 0 });
      await a.drained();
      await cluster.site.expectStored([...clicks("sent", 20), click("after"), click("meanwhile", NOON + HOUR_MS)]);
    });

    test("in doubt, and the cold store unavailable: unknown until that answers; others are accepted", async () => {
      const b = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
      const a = await cluster.site.start({ leaseMs: SHORT_LEASE_MS, outcomeTimeoutMs: OUTCOME_TIMEOUT_MS });
      await a.take(click("before"));
      await a.drained();
      const { writer } = a.pipeline;
      const isCutOff = Promise.withResolvers<void>();
      a.guard.intercept = onMethod("hot.commit", async () => {
        await isCutOff.promise;
        throw new Error("it never arrived");
      });
      const outcomes = a.submit(...clicks("sent", 20));
      await refuses(a);
      a.guard.freeze();
      await adoptedBy(b, writer!);
      await cluster.servers.mariaDb.kill();
      a.guard.intercept = undefined;
      isCutOff.resolve();
      a.guard.thaw();
      expect((await outcomes).map((outcome) => outcome?.reason)).toEqual(Array(20).fill("outcome_unknown"));
      await cluster.takesEvents(a);
      await a.take(click("after"));
      expect(a.pipeline.ledger).toMatchObject({ unknown: 20, inDoubt: 20 });
      await cluster.servers.mariaDb.start();
      await cluster.site.expectStored([click("before"), click("after")]);
      await waitFor("the outcome to be known", () => a.pipeline.ledger.inDoubt === 0);
      expect(a.pipeline.ledger).toMatchObject({ unknown: 20, unknownStored: 0, unknownUnstored: 20 });
      expect(a.pipeline.ledger.pending).toBe(a.pipeline.pending.events);
    });
  });

  describe("orphans", () => {
    test("that are moved leave the old writer sealed: an adopter that is late flushes none of them", async () => {
      const a = await cluster.site.start();
      const { writer } = a.pipeline;
      a.guard.intercept = flushesFail;
      await a.take(...clicks("orphan", 10));
      // What an adopter has read before the loss, and stores after it.
      const batches = await a.stores.hot.readJournal(writer!, 0, 1_000);
      await cluster.site.flushRedis();
      await a.takeInTheEnd(named("after"));
      a.guard.intercept = undefined;
      const late = a.stores.cold.flush(writer!, batches).then(
        () => "stored",
        (error: Error) => error.name,
      );
      expect(await late).toBe("WriterSealedError");
      await a.drained();
      await cluster.site.expectStored([...clicks("orphan", 10), named("after")]);
      await expectReads(a, [...clicks("orphan", 10), named("after")]);
    });

    test("that a late adopter stored before they were moved are not committed again", async () => {
      const a = await cluster.site.start();
      const { writer } = a.pipeline;
      a.guard.intercept = flushesFail;
      await a.take(...clicks("orphan", 10));
      const batches = await a.stores.hot.readJournal(writer!, 0, 1_000);
      await cluster.site.flushRedis();
      a.guard.intercept = async (call) => {
        if (call.method === "flush" && call.args[0] === writer) throw unavailable("cold");
        if (call.method === "seal" && call.args[0] === writer) await a.stores.cold.flush(writer!, batches);
        return await call.proceed();
      };
      await a.takeInTheEnd(named("after"));
      a.guard.intercept = undefined;
      await a.drained();
      await cluster.site.expectStored([...clicks("orphan", 10), named("after")]);
      expect(a.pipeline.ledger).toMatchObject({ accepted: 11, handedOver: 10, persisted: 1, lost: 0 });
    });
  });
});

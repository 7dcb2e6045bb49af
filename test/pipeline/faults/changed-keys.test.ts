/** Keys of Redis that something else has changed or deleted: what they held is lost, and nothing else. */
import { describe, expect, test } from "bun:test";
import { HOUR_MS } from "../../../src/domain/event.ts";
import {
  clicks,
  expectReads,
  hourAt,
  type Instance,
  impression,
  NOON,
  STREAM,
} from "../../harness/pipeline/pipeline-harness.ts";
import { waitFor } from "../../harness/service/wait-for.ts";
import { describeFaults, flushesFail, named, SHORT_LEASE_MS } from "./faults-setup.ts";

const PREFIX = "hg:{0}:";
const PLACE = `${NOON}:${STREAM}`;

/** The key, given the writer. */
const KEYS: Readonly<Record<string, (writer: string) => string>> = {
  "the data set's state": () => "meta",
  "the time of ids": () => "ids-through",
  "the number of stored events": () => "stored",
  "the identity of the database": () => "data-set",
  "the key that is tried": () => "trial",
  "the index of writers": () => "writers",
  "the index of hours": () => "hours",
  "the state of a writer": (writer) => `w:${writer}`,
  "a journal": (writer) => `j:${writer}`,
  "counts of an hour": () => `c:${PLACE}`,
  "viewers of an hour": () => `u:${PLACE}`,
  "clickers of an hour": () => `k:${PLACE}`,
};

describeFaults((cluster) => {
  /** Replaces the key by a list, a type that no key has. */
  async function damage(key: string): Promise<void> {
    await cluster.site.redis("DEL", PREFIX + key);
    await cluster.site.redis("RPUSH", PREFIX + key, "x");
  }

  async function drop(...keys: string[]): Promise<void> {
    await cluster.site.redis("DEL", ...keys.map((key) => PREFIX + key));
  }

  /** `strike`: given the writer, whose last batches are in its journal alone. */
  async function expectRecovery(strike: (writer: string) => Promise<void>): Promise<void> {
    const a = await cluster.site.start();
    const flushed = [...clicks("flushed", 5), impression("seen"), named("id-0")];
    await a.take(...flushed);
    await a.drained();
    a.guard.intercept = flushesFail;
    await a.take(...clicks("in the ring", 3));
    await strike(a.pipeline.writer!);
    a.guard.intercept = undefined;
    await a.takeInTheEnd(named("same hour"), named("other hour", "u", NOON - HOUR_MS));
    // It registers a writer, and reads what the first one does not.
    const b = await cluster.site.start();
    await b.takeInTheEnd(named("of b"));
    const taken = [...flushed, ...clicks("in the ring", 3), named("same hour"), named("of b")];
    const late = named("other hour", "u", NOON - HOUR_MS);
    for (const instance of [a, b]) {
      await instance.drained();
      await instance.serves(hourAt(NOON));
      await instance.takeInTheEnd(named("id-0"));
    }
    await cluster.site.expectStored([...taken, late]);
    for (const instance of [a, b]) await readsInTheEnd(instance, [...taken, late]);
    expect(a.pipeline.ledger.lost).toBe(0);
  }

  describe("something else has changed", () => {
    for (const [what, keyOf] of Object.entries(KEYS)) {
      test(`${what}: events are taken again, and each is one row and one count`, async () => {
        await expectRecovery((writer) => damage(keyOf(writer)));
      });
    }

    for (const [what, letter] of [
      ["journal", "j"],
      ["state", "w"],
    ] as const) {
      test(`the ${what} of a writer that has ended: it is adopted, and the data set can be set up`, async () => {
        const a = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
        await a.take(...clicks("flushed", 5));
        await a.drained();
        await damage(`${letter}:${a.pipeline.writer}`);
        cluster.site.kill(a);
        const b = await cluster.site.start({ leaseMs: SHORT_LEASE_MS });
        await b.takeInTheEnd(named("of b"));
        await waitFor("no journal but its own", async () => (await cluster.site.journals()).length === 1);
        await b.takeInTheEnd(named("later"));
        await b.drained();
        const taken = [...clicks("flushed", 5), named("of b"), named("later")];
        await cluster.site.expectStored(taken);
        await readsInTheEnd(b, taken);
      });
    }
  });

  describe("something else has deleted", () => {
    for (const [what, keyOf] of Object.entries(KEYS)) {
      test(`${what}: events are taken again, and each is one row and one count`, async () => {
        await expectRecovery((writer) => drop(keyOf(writer)));
      });
    }

    test("all keys of an hour: events are taken again, and each is one row and one count", async () => {
      await expectRecovery(() => drop(`c:${PLACE}`, `u:${PLACE}`, `k:${PLACE}`));
    });

    test("the index of hours or of writers: it is rebuilt", async () => {
      const a = await cluster.site.start();
      await a.take(...clicks("a", 2));
      for (const [index, size] of [
        ["hours", "ZCARD"],
        ["writers", "SCARD"],
      ] as const) {
        await drop(index);
        await waitFor("the index", async () => {
          await a.takeInTheEnd(named(`with ${index}`));
          return (await cluster.site.redis(size, PREFIX + index).catch(() => 0)) === 1;
        });
      }
    });
  });
});

/** The data set may be set up once more. */
async function readsInTheEnd(instance: Instance, events: Parameters<typeof expectReads>[1]): Promise<void> {
  await waitFor("reads to be whole", () => expectReads(instance, events).then(() => true));
}

/**
 * The ledger: at any moment every event sent is in exactly one of its columns, and pending events are counted where
 * they are.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { HOUR_MS, hourOf } from "../../src/domain/event.ts";
import { Random, seedFor } from "../harness/pipeline/random.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { postEvent } from "../harness/service/analytics-client.ts";
import { ask } from "../harness/service/http-connection.ts";
import { fatesOf, Load } from "../harness/service/load.ts";
import { MODES, type Service, type Site } from "../harness/service/service.ts";
import { waitFor } from "../harness/service/wait-for.ts";

interface InstanceLedger {
  readonly writer: string;
  readonly accepted: number;
  readonly persisted: number;
  readonly pending: number;
  readonly pending_in_ring: number;
  readonly pending_in_journal_only: number;
  readonly journal_max_events: number;
  readonly handed_over: number;
  readonly lost: number;
  readonly holds: boolean;
  readonly adopted: number;
  readonly duplicates: number;
  readonly refused: Readonly<Record<string, number>>;
  readonly oldest_pending_ms: number;
}

interface WriterLedger {
  readonly writer: string;
  readonly is_alive: boolean;
  readonly accepted: number;
  readonly persisted: number;
  readonly pending: number;
}

interface StoresLedger extends Omit<WriterLedger, "writer" | "is_alive"> {
  readonly writers: readonly WriterLedger[];
  readonly dead_letters: number;
}

interface Ledger {
  readonly instance: InstanceLedger;
  readonly stores: StoresLedger;
}

async function ledgerOf({ port }: Service): Promise<Ledger> {
  const { status, body } = await ask(port, { method: "GET", target: "/ledger" });
  expect(status).toBe(200);
  return JSON.parse(body) as Ledger;
}

function expectHolds({ instance, stores }: Ledger): void {
  const { accepted, persisted, pending, handed_over, lost } = instance;
  expect(instance.holds).toBe(true);
  expect(accepted).toBe(persisted + pending + handed_over + lost);
  expect(instance.pending_in_ring + instance.pending_in_journal_only).toBe(pending);
  for (const writer of stores.writers) {
    expect(writer.pending).toBeGreaterThanOrEqual(0);
    expect(writer.accepted).toBe(writer.persisted + writer.pending);
  }
  expect(stores.accepted).toBe(stores.persisted + stores.pending);
}

for (const { name, needs, open } of MODES) {
  describeWithServers(`GET /ledger, ${name}`, needs, () => {
    let site: Site;
    let service: Service;

    beforeAll(async () => {
      site = await open();
      service = await site.start({ LEASE_MS: "1000", RING_CAPACITY: "200", FLUSH_MAX_EVENTS: "100" });
    });
    afterAll(() => site.close());

    const drained = () =>
      waitFor("nothing to be pending", async () => {
        const ledger = await ledgerOf(service);
        expectHolds(ledger);
        return ledger.instance.pending === 0 && ledger.stores.pending === 0 && ledger;
      });

    test("holds at every look under load, and agrees with the clients and the rows at the end", async () => {
      const hours = [hourOf(Date.now()), hourOf(Date.now()) - 30 * HOUR_MS];
      const random = new Random(seedFor(`ledger, ${name}`));
      const load = new Load({
        ports: [service.port],
        random,
        clients: 16,
        streams: ["a"],
        hours,
        withId: 0.5,
      });
      let pendingSeen = 0;
      await waitFor("some thousand events, and some of them pending at a look", async () => {
        const ledger = await ledgerOf(service);
        expectHolds(ledger);
        pendingSeen += ledger.instance.pending;
        return load.events.length > 2_000 && pendingSeen > 0;
      });
      await load.finish();
      // On a busy machine a moment may have been too long for some that have no id: those were refused.
      const acknowledged = load.events.filter(({ fate }) => fate === "acknowledged").length;
      console.log(`ledger, ${name}: ${fatesOf(load.events)}`);
      expect(load.surprises).toEqual([]);
      const { instance, stores } = await drained();
      expect(instance.accepted + instance.duplicates).toBe(acknowledged);
      expect(stores.accepted).toBe(instance.accepted);
      expect(await site.cold.countEvents()).toBe(instance.persisted);
      expect(instance.oldest_pending_ms).toBe(0);
    });

    test("each outcome has its column", async () => {
      const { instance: before } = await drained();
      const event = { at: Date.now(), user: "u", kind: "click" as const };
      await postEvent(service.port, { ...event, id: "twice" });
      await postEvent(service.port, { ...event, id: "twice" });
      await postEvent(service.port, event);
      await ask(service.port, { method: "POST", target: "/analytics?timestamp=1&user=u" });
      await ask(service.port, { method: "POST", target: "/analytics?timestamp=%ff" });
      const { instance: after } = await drained();
      expect(after.accepted - before.accepted).toBe(2);
      expect(after.duplicates - before.duplicates).toBe(1);
      expect(after.refused["invalid"]! - before.refused["invalid"]!).toBe(2);
      expect(after.persisted - before.persisted).toBe(2);
      expect(after.journal_max_events).toBeGreaterThan(0);
    });

    test("what a killed instance left is pending under its name, until it is adopted", async () => {
      await drained();
      const total = await site.cold.countEvents();
      const random = new Random(seedFor(`ledger after a kill, ${name}`));
      const hours = [hourOf(Date.now())];
      const load = new Load({ ports: [service.port], random, clients: 16, streams: ["k"], hours, withId: 1 });
      const { instance } = await ledgerOf(service);
      await new Promise<void>((resolve) => load.afterSteps(500, resolve));
      await service.restart("SIGKILL");
      await load.finish();
      const { stores, instance: next } = await drained();
      expect(next.writer).not.toBe(instance.writer);
      expect(stores.persisted).toBe(total + load.events.length);
      expect(await site.cold.countEvents()).toBe(total + load.events.length);
    });

    if (name === "embedded") return;

    test("with MySQL down: the backlog is visible, in the ring and beyond it, and its age", async () => {
      await drained();
      const { mariaDb } = site.servers!;
      mariaDb.pause();
      for (let i = 0; i < 300; i++) {
        await postEvent(service.port, { at: Date.now(), user: `u${i}`, kind: "click" });
      }
      const { status, body } = await ask(service.port, { method: "GET", target: "/ledger" });
      expect(status).toBe(200);
      const { instance, stores } = JSON.parse(body);
      expect(stores).toEqual({ unavailable: "cold_store_away" });
      expect(instance).toMatchObject({ pending: 300, holds: true });
      expect(instance.pending_in_ring).toBeLessThanOrEqual(200);
      expect(instance.pending_in_journal_only).toBeGreaterThanOrEqual(100);
      expect(instance.oldest_pending_ms).toBeGreaterThan(0);
      mariaDb.resume();
      await drained();
    });

    test("/readyz says that Redis is down and back, even without POSTs; /livez stays as it is", async () => {
      const { redis } = site.servers!;
      const isReady = async () => (await ask(service.port, { method: "GET", target: "/readyz" })).status === 200;
      await waitFor("it to be ready", isReady);
      redis.pause();
      await waitFor("it to be not ready", async () => !(await isReady()));
      expect((await ask(service.port, { method: "GET", target: "/livez" })).status).toBe(200);
      redis.resume();
      await waitFor("it to be ready again", isReady);
      await redis.kill();
      await waitFor("it to be not ready", async () => !(await isReady()));
      await redis.start();
      await waitFor("it to be ready again", isReady);
    });
  });
}

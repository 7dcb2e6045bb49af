/** GET /metrics: the ledger holds in every scrape, and measurements are true. */
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { version } from "../../package.json";
import { HOUR_MS, hourOf } from "../../src/domain/event.ts";
import { Random, seedFor } from "../harness/pipeline/random.ts";
import { type Samples, scrape } from "../harness/servers/prometheus.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { postEvent, readHour } from "../harness/service/analytics-client.ts";
import { ask } from "../harness/service/http-connection.ts";
import { Load } from "../harness/service/load.ts";
import { MODES, type Service, type Site } from "../harness/service/service.ts";
import { roomInHour, waitFor } from "../harness/service/wait-for.ts";

function pendingIn(samples: Samples): number {
  const [ring, journal] = ["ring", "journal"].map((place) => samples.get(`hourglass_events_pending{in="${place}"}`));
  return ring! + journal!;
}

function expectHolds(samples: Samples): void {
  const total = (what: string) => samples.get(`hourglass_events_${what}_total`)!;
  const handedOver = samples.get("hourglass_events_handed_over")!;
  const accounted = total("persisted") + pendingIn(samples) + handedOver + total("lost");
  expect(accounted).toBe(total("accepted"));
}

for (const { name, needs, open } of MODES) {
  describeWithServers(`GET /metrics, ${name}`, needs, () => {
    let site: Site;
    let service: Service;

    beforeAll(async () => {
      site = await open();
      service = await site.start({ HOT_HOURS: "1", RING_CAPACITY: "200", FLUSH_MAX_EVENTS: "100" });
    });
    beforeEach(roomInHour);
    afterAll(() => site.close());

    const drained = () =>
      waitFor("nothing to be pending", async () => {
        const samples = await scrape(service.port);
        expectHolds(samples);
        return pendingIn(samples) === 0 && samples;
      });

    test("the ledger holds in every scrape under load", async () => {
      const random = new Random(seedFor(`metrics, ${name}`));
      const hours = [hourOf(Date.now())];
      const load = new Load({ ports: [service.port], random, clients: 16, streams: ["a"], hours, withId: 0 });
      let scrapes = 0;
      const enough = waitFor("enough events and scrapes", async () => {
        expectHolds(await scrape(service.port));
        scrapes += 1;
        return scrapes >= 20 && load.events.length > 1_000;
      });
      // Also after a failure: its events would be in the figures of the tests that follow.
      await enough.finally(() => load.finish());
      const samples = await drained();
      // On a busy machine a moment may have been too long for some: those were refused.
      const count = load.events.filter(({ fate }) => fate === "acknowledged").length;
      expect(load.surprises).toEqual([]);
      expect(samples.get("hourglass_events_persisted_total")).toBe(count);
      expect(samples.get("hourglass_batch_events_sum")).toBe(count);
      expect(samples.get("hourglass_flush_events_sum")).toBe(count);
      expect(samples.get("hourglass_commit_seconds_count")).toBe(samples.get("hourglass_batch_events_count"));
      expect(samples.get("hourglass_flush_seconds_count")).toBeGreaterThan(0);
      expect(samples.get('hourglass_http_requests_total{method="POST",route="/analytics",status="204"}')).toBe(count);
      const timed = 'hourglass_request_seconds_count{method="POST",route="/analytics",hour="current"}';
      // One in 8 is timed, and stands for 8.
      expect(samples.get(timed)).toBe(8 * Math.ceil(load.events.length / 8));
      expect(samples.get("hourglass_event_loop_lag_seconds_count")).toBeGreaterThan(0);
      expect(samples.get("hourglass_ring_capacity_events")).toBe(200);
      expect(samples.get(`hourglass_build_info{version="${version}"}`)).toBe(1);
      expect(samples.get("hourglass_ready")).toBe(1);
      expect(samples.get("hourglass_flush_ok")).toBe(1);
      expect(samples.get("hourglass_oldest_pending_seconds")).toBe(0);
      expect(samples.get("process_resident_memory_bytes")).toBeGreaterThan(1e6);
      // Others cost a walk of the whole heap, or a timer.
      const ofRuntime = [...samples.keys()].filter((name) => name.startsWith("nodejs_")).sort();
      expect(ofRuntime).toEqual(
        ["external_memory", "heap_size_total", "heap_size_used"].map((name) => `nodejs_${name}_bytes`),
      );
    });

    test("requests by route and status, refusals by reason, duplicates", async () => {
      const before = await drained();
      const event = { at: Date.now(), user: "u", kind: "click" as const, id: "twice" };
      await postEvent(service.port, event);
      await postEvent(service.port, event);
      await readHour(service.port, event.at);
      await ask(service.port, { method: "POST", target: "/analytics?timestamp=1" });
      await ask(service.port, { method: "GET", target: "/analytics?timestamp=%ff" });
      const after = await drained();
      const grown = (sample: string) => (after.get(sample) ?? 0) - (before.get(sample) ?? 0);
      const requests = (method: string, status: number) =>
        grown(`hourglass_http_requests_total{method="${method}",route="/analytics",status="${status}"}`);
      expect([requests("POST", 204), requests("POST", 422)]).toEqual([2, 1]);
      expect([requests("GET", 200), requests("GET", 400)]).toEqual([1, 1]);
      expect(grown("hourglass_events_duplicate_total")).toBe(1);
      expect(grown('hourglass_events_refused_total{reason="invalid"}')).toBe(1);
      expect(grown("hourglass_hot_read_seconds_count")).toBe(1);
      const timed = (method: string, hour: string) =>
        grown(`hourglass_request_seconds_count{method="${method}",route="/analytics",hour="${hour}"}`);
      expect([timed("GET", "current"), timed("GET", "any")]).toEqual([1, 1]);
    });

    test("a late event is seen as a hydration, and a read of a past hour as one of the cold store", async () => {
      // An instance that finds hours in the cold store takes none before them for empty.
      await service.restart();
      const at = Date.now() - 90 * HOUR_MS;
      await postEvent(service.port, { at, user: "u", kind: "click", stream: "late" });
      await readHour(service.port, at - HOUR_MS, "late");
      const samples = await drained();
      const isBornAnew = name === "embedded";
      expect(samples.get("hourglass_hydration_seconds_count")).toBe(isBornAnew ? 1 : 0);
      expect(samples.get("hourglass_cold_read_seconds_count")).toBe(isBornAnew ? 1 : 0);
      const timed = (method: string) =>
        samples.get(`hourglass_request_seconds_count{method="${method}",route="/analytics",hour="older"}`);
      expect([timed("POST"), timed("GET")]).toEqual([8, 1]);
    });

    if (name === "embedded") return;

    test("unavailable stores are visible", async () => {
      const { redis, mariaDb } = site.servers!;
      await drained();
      mariaDb.pause();
      await postEvent(service.port, { at: Date.now(), user: "u", kind: "click" });
      await waitFor("the event to grow old", async () => {
        const samples = await scrape(service.port);
        expectHolds(samples);
        return samples.get("hourglass_oldest_pending_seconds")! > 0 && pendingIn(samples) === 1;
      });
      const isAway = async () => {
        const samples = await scrape(service.port);
        const errors = samples.get('hourglass_store_errors_total{store="cold",operation="flush"}') ?? 0;
        return errors > 0 && samples.get('hourglass_store_up{store="cold"}') === 0;
      };
      // A flush is given 10 s.
      await waitFor("MySQL to be away", isAway);
      mariaDb.resume();
      expect((await drained()).get('hourglass_store_up{store="cold"}')).toBe(1);
      redis.pause();
      await waitFor("it to be not ready", async () => (await scrape(service.port)).get("hourglass_ready") === 0);
      expect((await scrape(service.port)).get('hourglass_store_up{store="hot"}')).toBe(0);
      redis.resume();
      await waitFor("it to be ready", async () => (await scrape(service.port)).get("hourglass_ready") === 1);
      expect((await scrape(service.port)).get("hourglass_commit_failures_total")).toBeGreaterThan(0);
    });
  });
}

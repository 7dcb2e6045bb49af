/**
 * Three instances behind HAProxy with the configuration in deploy/: all are replaced one after the other under load,
 * and no request fails. HAProxy only retries requests that count once.
 */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hourOf } from "../../src/domain/event.ts";
import { Random, seedFor } from "../harness/pipeline/random.ts";
import { PROJECT_ROOT } from "../harness/project/project-files.ts";
import { binary } from "../harness/servers/binaries.ts";
import { freePort } from "../harness/servers/ports.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { eventTarget, readHour } from "../harness/service/analytics-client.ts";
import { ask } from "../harness/service/http-connection.ts";
import { fatesOf, Load, rowFaults, type SentEvent } from "../harness/service/load.ts";
import { MODES, type Service, type Site } from "../harness/service/service.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const { needs, open } = MODES.find(({ name }) => name === "redis+mysql")!;

const EVENTS = 300;
const FATES: Readonly<Record<number, SentEvent["fate"]>> = { 204: "acknowledged", 503: "refused" };

interface Place {
  readonly site: Site;
  readonly instances: readonly Service[];
  readonly port: number;
  readonly hour: number;
}

describeWithServers("instances behind a balancer", [...needs, "haproxy"], () => {
  const folder = mkdtempSync(join(tmpdir(), "hourglass-balancer-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  /** The file as it is, but for where the instances are, and for how many files a process may have open. */
  async function configFor(port: number, instances: readonly Service[]): Promise<string> {
    let text = await Bun.file(join(PROJECT_ROOT, "deploy/haproxy/haproxy.cfg")).text();
    text = text.replace("bind :7777", `bind 127.0.0.1:${port}`).replace("maxconn 20000", "maxconn 200");
    for (const [i, { port: to }] of instances.entries()) {
      text = text.replace(`hourglass-${i + 1}:7777`, `127.0.0.1:${to}`);
    }
    const path = join(folder, "haproxy.cfg");
    writeFileSync(path, text);
    return path;
  }

  async function withBalancer(body: (place: Place) => Promise<void>): Promise<void> {
    const site = await open();
    const instances = await Promise.all([1, 2, 3].map(() => site.start({ DRAIN_MS: "5000" })));
    const port = await freePort();
    const command = [binary("haproxy"), "-db", "-f", await configFor(port, instances)];
    const balancer = Bun.spawn(command, { stdio: ["ignore", "ignore", "inherit"] });
    try {
      await waitFor("the balancer to be ready", async () => {
        return (await ask(port, { method: "GET", target: "/readyz" })).status === 200;
      });
      await body({ site, instances, port, hour: hourOf(Date.now()) });
    } finally {
      balancer.kill("SIGKILL");
      await balancer.exited;
      await site.close();
    }
  }

  test("are replaced one after the other, and no request fails", async () => {
    await withBalancer(async ({ site, instances, port, hour }) => {
      const random = new Random(seedFor("balancer"));
      const load = new Load({ ports: [port], random, clients: 16, streams: ["b"], hours: [hour], withId: 0 });
      for (const instance of instances) {
        await new Promise<void>((resolve) => load.afterSteps(500, resolve));
        await instance.restart();
      }
      await new Promise<void>((resolve) => load.afterSteps(500, resolve));
      await load.finish();
      expect(fatesOf(load.events)).toBe(`${load.events.length} acknowledged`);
      expect([load.losses, [...load.refusalCodes], load.surprises]).toEqual([0, [], []]);
      const { clicks, impressions } = await readHour(port, hour, "b");
      expect(clicks + impressions).toBe(load.events.length);
      await waitFor("the rows", async () => (await site.cold.countEvents()) >= load.events.length);
      expect(rowFaults(load.events, await site.cold.events())).toEqual([]);
    });
  });

  test("with a Redis that is frozen for a while: what the balancer sends again counts once", async () => {
    await withBalancer(async ({ site, instances, port, hour }) => {
      const { redis } = site.servers!;
      redis.pause();
      const events = Array.from({ length: EVENTS }, (_, number): SentEvent => {
        const user = `user-${number}`;
        return { at: hour + number, user, kind: "click", stream: "b", id: undefined, fate: "unsent" };
      });
      const answering = events.map(async (event) => {
        const { status } = await ask(port, { method: "POST", target: eventTarget(event) });
        event.fate = FATES[status] ?? "unknown";
      });
      await waitFor("events to be refused", () => events.some(({ fate }) => fate === "refused"));
      redis.resume();
      await Promise.all(answering);
      // Before an instance ends it stores all that it has accepted.
      await Promise.all(instances.map((instance) => instance.kill("SIGTERM")));
      expect(rowFaults(events, await site.cold.events())).toEqual([]);
    });
  });
});

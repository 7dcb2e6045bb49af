/**
 * docker-compose.yml and deploy/compose.cluster.yml, run by podman-compose with stand-ins for MySQL, Redis and HAProxy
 * under the names of their images: up, counting, every container killed, down, up again, and still counting.
 *
 * podman-compose does not wait for health, and without systemd no health check runs by itself. So services are started
 * in the order of `depends_on`, each once the health checks of those before it pass.
 */
import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PROJECT_ROOT } from "../harness/project/project-files.ts";
import { freePort } from "../harness/servers/ports.ts";
import { waitFor } from "../harness/service/wait-for.ts";
import { type Containers, describeContainers } from "./containers.ts";
import { HAPROXY_IMAGE, MYSQL_IMAGE, REDIS_IMAGE } from "./stand-ins.ts";

setDefaultTimeout(400_000);

const HEALTHY_TIMEOUT_MS = 120_000;
const NOW = Date.now();

interface Site {
  /** The URL of the open port. */
  readonly url: string;
  readonly services: readonly string[];
  up(): Promise<void>;
  down(): Promise<void>;
  kill(service: string): Promise<void>;
  start(service: string): Promise<void>;
  end(): Promise<void>;
}

/** `order`: services that may start at once, and then those that depend on them, and so on. */
async function openSite(
  { engine, image, newName }: Pick<Containers, "engine" | "image"> & { newName(): string },
  file: string,
  order: readonly (readonly string[])[],
): Promise<Site> {
  const folder = mkdtempSync(join(tmpdir(), "hourglass-compose-"));
  const port = await freePort();
  cpSync(join(PROJECT_ROOT, "deploy"), join(folder, "deploy"), { recursive: true });
  for (const path of ["docker-compose.yml", "deploy/compose.cluster.yml"]) {
    const text = readFileSync(join(PROJECT_ROOT, path), "utf8")
      .replaceAll("127.0.0.1:7777:7777", `127.0.0.1:${port}:7777`)
      .replaceAll("driver: local", "driver: k8s-file")
      // Where limits cannot be raised, podman fails for each that is set.
      .replaceAll(/^ +ulimits:\n( +#.*\n)* +nofile: \d+\n/gm, "")
      .replaceAll(/^ {2}image: \$\{HOURGLASS_IMAGE.*\n/gm, "")
      .replaceAll(/build: \.\.?$/gm, `image: ${image}`);
    writeFileSync(join(folder, path), text);
  }
  // HAProxy ends if it may not open two files for each of its connections.
  const balancer = join(folder, "deploy/haproxy/haproxy.cfg");
  writeFileSync(balancer, readFileSync(balancer, "utf8").replace(/maxconn \d+/, "maxconn 1000"));
  writeFileSync(join(folder, ".env"), "USER_SALT=a-salt-of-16-or-more\nMYSQL_PASSWORD=secret\n");
  cpSync(join(folder, ".env"), join(folder, "deploy", ".env"));
  const project = newName();
  const compose = (...args: readonly string[]) =>
    engine.run(["podman-compose", "--project-name", project, "--file", join(folder, file), ...args], folder);
  const container = (service: string) => `${project}_${service}_1`;

  const waitUntilHealthy = async (service: string) => {
    const hasCheck = await engine.podman("inspect", "--format={{.Config.Healthcheck}}", container(service));
    if (hasCheck === "<nil>") return;
    const isHealthy = () => engine.isHealthy(container(service));
    await waitFor(`${service} to be healthy`, isHealthy, {
      timeoutMs: HEALTHY_TIMEOUT_MS,
      intervalMs: 250,
    }).catch(async (error) => {
      throw new Error(`${error.message}\n${await engine.logs(container(service))}`);
    });
  };
  return {
    url: `http://127.0.0.1:${port}`,
    services: order.flat(),
    async up() {
      for (const services of order) {
        await compose("up", "--detach", "--no-build", ...services);
        for (const service of services) await waitUntilHealthy(service);
      }
    },
    down: async () => void (await compose("down")),
    kill: async (service) => {
      await engine.podman("kill", "--signal=KILL", container(service));
      await engine.podman("wait", container(service));
    },
    start: async (service) => {
      await engine.podman("start", container(service));
      await waitUntilHealthy(service);
    },
    async end() {
      await compose("down", "--volumes");
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

const USERS_TOLERANCE = 4;

/** Clicks that were answered with 204, each with its own user and id, and resent until then. */
class Counted {
  readonly #url: string;
  #sent = 0;

  constructor({ url }: Site) {
    this.#url = url;
  }

  async send(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const name = `u${this.#sent++}`;
      const event = `${this.#url}/analytics?timestamp=${NOW}&user=${name}&click&id=${name}`;
      const isTaken = async () => (await fetch(event, { method: "POST" })).status === 204;
      await waitFor(`${name} to be taken`, isTaken, { timeoutMs: HEALTHY_TIMEOUT_MS, intervalMs: 100 });
    }
  }

  async expectAll(): Promise<void> {
    const read = async () => (await fetch(`${this.#url}/analytics?timestamp=${NOW}`)).text();
    const isThere = async () => (await read()).startsWith("unique_users");
    await waitFor("the counts", isThere, { timeoutMs: HEALTHY_TIMEOUT_MS, intervalMs: 100 });
    const [, users, clicks, impressions] = /^unique_users,(\d+)\nclicks,(\d+)\nimpressions,(\d+)\n$/.exec(
      await read(),
    )!;
    expect([Number(clicks), Number(impressions)]).toEqual([this.#sent, 0]);
    // An estimate, under a key that is drawn when the database is new: two users may share a register.
    expect(Math.abs(Number(users) - this.#sent)).toBeLessThanOrEqual(USERS_TOLERANCE);
  }
}

const FILES = {
  "docker-compose.yml": [["mysql", "redis"], ["hourglass"]],
  "deploy/compose.cluster.yml": [["mysql", "redis"], ["hourglass-1", "hourglass-2", "hourglass-3"], ["balancer"]],
};

describeContainers("compose files", [MYSQL_IMAGE, REDIS_IMAGE, HAPROXY_IMAGE], (containers) => {
  let site: Site | undefined;
  afterEach(async () => {
    await site?.end();
    site = undefined;
  });

  for (const [file, order] of Object.entries(FILES)) {
    describe(file, () => {
      test("counts, also after a kill of each container, and after down and up", async () => {
        const startMs = performance.now();
        const { engine, image } = containers;
        site = await openSite({ engine, image, newName: () => containers.newName() }, file, order);
        await site.up();
        console.log(`${file}: up and healthy after ${Math.round(performance.now() - startMs)} ms`);
        const counted = new Counted(site);
        await counted.send(20);
        await counted.expectAll();
        for (const service of site.services) {
          await site.kill(service);
          await site.start(service);
          await counted.send(5);
          await counted.expectAll();
        }
        await site.down();
        await site.up();
        await counted.send(5);
        await counted.expectAll();
      });
    });
  }
});

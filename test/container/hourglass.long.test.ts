/** The container of the Dockerfile: started, restarted, upgraded, stopped at any moment, with a full volume. */
import { describe, expect, test } from "bun:test";
import { chownSync, readFileSync } from "node:fs";
import { freePort } from "../harness/servers/ports.ts";
import { Tmpfs } from "../harness/servers/tmpfs.ts";
import { waitFor } from "../harness/service/wait-for.ts";
import { type Container, describeContainers } from "./containers.ts";

const NOW = Date.now();
/** The nonroot user of the image. */
const USER = 65_532;

/** A moment of a container's start. */
async function until(timeMs: number): Promise<void> {
  await waitFor("the moment", () => performance.now() >= timeMs, { intervalMs: 1 });
}

async function post({ url }: Container, user: string): Promise<number> {
  const event = `${url}/analytics?timestamp=${NOW}&user=${user}&click`;
  return (await fetch(event, { method: "POST" })).status;
}

async function clicksIn({ url }: Container): Promise<number> {
  const counts = await (await fetch(`${url}/analytics?timestamp=${NOW}`)).text();
  return Number(/^clicks,(\d+)$/m.exec(counts)?.[1]);
}

async function postAll(container: Container, name: string, count: number): Promise<void> {
  for (let i = 0; i < count; i++) expect(await post(container, `${name}-${i}`)).toBe(204);
}

describeContainers("the container", [], (containers) => {
  const newVolume = () => `${containers.newName()}-data`;

  test("starts on an empty volume: not root, without capabilities, read-only, and healthy", async () => {
    const startMs = performance.now();
    const container = await containers.run(await freePort(), newVolume());
    await container.waitUntilReady();
    console.log(`ready ${Math.round(performance.now() - startMs)} ms after 'podman run'`);
    expect(await container.isHealthy()).toBe(true);
    const pid = await container.inspect("{{.State.Pid}}");
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    expect(status).toMatch(new RegExp(`^Uid:\\t${USER}\\t${USER}\\t${USER}\\t${USER}$`, "m"));
    for (const set of ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]) {
      expect(status).toMatch(new RegExp(`^${set}:\\t0+$`, "m"));
    }
    expect(status).toMatch(/^NoNewPrivs:\t1$/m);
    expect(readFileSync(`/proc/${pid}/mountinfo`, "utf8")).toMatch(/ \/ \/ ro[, ]/);
    await postAll(container, "first", 3);
    expect(await clicksIn(container)).toBe(3);
    expect(await container.stop()).toBe(0);
    expect(await container.isHealthy()).toBe(false);
  });

  test("keeps its counts over a restart, a kill -9 and an upgrade in place", async () => {
    const volume = newVolume();
    const port = await freePort();
    const container = await containers.run(port, volume);
    await container.waitUntilReady();
    await postAll(container, "first", 10);
    expect(await container.stop()).toBe(0);
    await container.start();
    await container.waitUntilReady();
    await postAll(container, "second", 10);
    await containers.engine.podman("kill", "--signal=KILL", container.name);
    await containers.engine.podman("wait", container.name);
    await container.start();
    await container.waitUntilReady();
    expect(await clicksIn(container)).toBe(20);
    expect(await container.stop()).toBe(0);

    const newer = `${containers.image}-newer`;
    await containers.engine.podman("commit", "--change=LABEL upgraded=yes", container.name, newer);
    const upgraded = await containers.run(port, volume, { image: newer });
    await upgraded.waitUntilReady();
    await postAll(upgraded, "third", 1);
    expect(await clicksIn(upgraded)).toBe(21);
    expect(await upgraded.stop()).toBe(0);
  });

  describe("on SIGTERM", () => {
    const DELAYS_MS = [0, 5, 10, 20, 40, 80, 120, 160, 240, 320, 480, 640];

    for (const [place, options] of [
      ["as process 1", []],
      ["under another init", ["--init"]],
    ] as const) {
      test(`${place} it ends within seconds, at any moment of its start, and starts again`, async () => {
        const volume = newVolume();
        const port = await freePort();
        for (const delayMs of DELAYS_MS) {
          const container = await containers.run(port, volume, { options });
          await until(performance.now() + delayMs);
          // 143: the program had no handler yet, and nothing to finish.
          expect([0, 143], `${delayMs} ms after it was run`).toContain(await container.stop(10));
          await container.remove();
        }
        const container = await containers.run(port, volume, { options });
        await container.waitUntilReady();
        await postAll(container, "after", 1);
        expect(await clicksIn(container)).toBe(1);
        expect(await container.stop()).toBe(0);
      });
    }

    test("under load answers what it took, and has counted exactly that", async () => {
      const volume = newVolume();
      const port = await freePort();
      let answered = 0;
      for (let round = 0; round < 3; round++) {
        const container = await containers.run(port, volume);
        await container.waitUntilReady();
        let isOver = false;
        const client = async (number: number) => {
          for (let i = 0; !isOver; i++) {
            const status = await post(container, `${round}-${number}-${i}`).catch(() => 0);
            if (status === 204) answered += 1;
            else if (status === 0) return;
          }
        };
        const clients = Promise.all(Array.from({ length: 16 }, (_, number) => client(number)));
        await waitFor("some load", () => answered > 500 * (round + 1));
        expect(await container.stop()).toBe(0);
        isOver = true;
        await clients;
        await container.remove();
      }
      const container = await containers.run(port, volume);
      await container.waitUntilReady();
      expect(await clicksIn(container)).toBe(answered);
      expect(await container.stop()).toBe(0);
    });
  });

  test("with a full volume refuses, and goes on once there is room", async () => {
    const disk = Tmpfs.mount(64);
    if (typeof disk === "string") throw new Error(disk);
    chownSync(disk.path, USER, USER);
    const container = await containers.run(await freePort(), disk.path);
    try {
      await container.waitUntilReady();
      await postAll(container, "before", 5);
      disk.fill();
      const refusal = async () => (await post(container, "full")) === 503;
      await waitFor("a refusal", refusal, { timeoutMs: 30_000 });
      const stored = await clicksIn(container);
      disk.free();
      await waitFor("events to be taken again", async () => (await post(container, "after")) === 204, {
        timeoutMs: 30_000,
      });
      expect(await clicksIn(container)).toBe(stored + 1);
      expect(await container.stop()).toBe(0);
    } finally {
      await container.remove();
      await disk.close();
    }
  });
});

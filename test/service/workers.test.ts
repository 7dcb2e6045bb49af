/**
 * WORKERS: several processes on one port, which no other instance shares. A killed one is replaced, and nothing is lost
 * or doubled.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { hourOf } from "../../src/domain/event.ts";
import { Random, seedFor } from "../harness/pipeline/random.ts";
import { freeze } from "../harness/servers/freeze.ts";
import { freePort } from "../harness/servers/ports.ts";
import { scrape } from "../harness/servers/prometheus.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { postEvent, readHour } from "../harness/service/analytics-client.ts";
import { type CommandResult, runCommand, startCommand } from "../harness/service/command.ts";
import { ask } from "../harness/service/http-connection.ts";
import { fatesOf, Load, rowFaults } from "../harness/service/load.ts";
import { testedProgram } from "../harness/service/program.ts";
import { MODES, type Service, type Site } from "../harness/service/service.ts";
import { expectHoursToBeReplay } from "../harness/service/stored.ts";
import { waitFor } from "../harness/service/wait-for.ts";

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
}

async function connectionTo(port: number): Promise<Socket> {
  const socket = connect(port, "127.0.0.1").on("error", () => {});
  await once(socket, "connect");
  return socket;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Starts the program, and calls `act` at the first text in its log that has `part`. */
async function actAt(part: string, settings: Readonly<Record<string, string>>, act: (pid: number) => void) {
  const child = Bun.spawn([testedProgram(), "serve"], {
    env: { PATH: process.env["PATH"] ?? "", ...settings },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let log = "";
  let isDone = false;
  for await (const chunk of child.stderr) {
    log += Buffer.from(chunk).toString();
    if (isDone || !log.includes(part)) continue;
    isDone = true;
    act(child.pid);
  }
  return { exitCode: await child.exited, log };
}

const { needs, open } = MODES.find(({ name }) => name === "redis+mysql")!;

describeWithServers("workers", needs, () => {
  let site: Site;
  let service: Service;

  beforeAll(async () => {
    site = await open();
    service = await site.start({ WORKERS: "2", LEASE_MS: "1000" });
    await waitFor("both workers to answer", async () => (await writers()).size === 2);
  });
  afterAll(() => site.close());

  /** Each connection goes to one of them, by chance. */
  async function writers(): Promise<Set<string>> {
    const asked = Array.from({ length: 20 }, () => ask(service.port, { method: "GET", target: "/readyz" }));
    const answers = (await Promise.allSettled(asked)).filter((answer) => answer.status === "fulfilled");
    return new Set(answers.map(({ value }) => JSON.parse(value.body).writer));
  }

  test("share the port, and count into the same hours; one that is killed is replaced", async () => {
    const hour = hourOf(Date.now());
    const random = new Random(seedFor("workers"));
    const load = new Load({
      ports: [service.port],
      random,
      clients: 32,
      streams: ["w"],
      hours: [hour],
      withId: 1,
    });
    for (let round = 0; round < 4; round++) {
      await new Promise<void>((resolve) => load.afterSteps(400, resolve));
      const workers = childrenOf(service.pid!);
      process.kill(workers[round % workers.length]!, "SIGKILL");
      await waitFor("another worker", () => {
        const now = childrenOf(service.pid!);
        return now.length === 2 && now.join() !== workers.join();
      });
    }
    await load.finish();
    expect(fatesOf(load.events)).toBe(`${load.events.length} acknowledged`);
    await waitFor("the rows", async () => (await site.cold.countEvents()) >= load.events.length);
    const rows = await site.cold.events();
    expect(rowFaults(load.events, rows)).toEqual([]);
    expectHoursToBeReplay(await site.cold.hours(), rows);
    const { clicks, impressions } = await readHour(service.port, hour, "w");
    expect(clicks + impressions).toBe(load.events.length);
    expect(load.surprises).toEqual([]);
  });

  test("are all in one scrape, each under its number; one that hangs is left out", async () => {
    const of = (worker: number) => `hourglass_events_accepted_total{worker="${worker}"}`;
    const bothIn = async () => {
      const samples = await scrape(service.port);
      return [0, 1].every((worker) => samples.has(of(worker))) && samples;
    };
    // The one that was killed last is still starting.
    const before = await waitFor("both to be told of", bothIn);
    for (const worker of [0, 1]) {
      expect(before.get(`hourglass_workers{worker="${worker}"}`)).toBe(2);
      expect(before.get(`process_start_time_seconds{worker="${worker}"}`)).toBeGreaterThan(1e9);
    }
    const event = { at: Date.now(), kind: "click", stream: "scraped" } as const;
    for (let i = 0; i < 40; i++) await postEvent(service.port, { ...event, user: `u-${i}` });
    const after = await waitFor("both to be told of", bothIn);
    const grown = [0, 1].map((worker) => after.get(of(worker))! - before.get(of(worker))!);
    expect(grown[0]! + grown[1]!).toBe(40);
    const [pid] = childrenOf(service.pid!);
    freeze(pid!);
    try {
      // The kernel deals connections to the one that hangs as well, by chance: it answers those when it goes on.
      const alone = await waitFor("an answer of the other", async () => {
        const asked = Array.from({ length: 40 }, () => scrape(service.port));
        return await Promise.any(asked);
      });
      expect([0, 1].filter((worker) => alone.has(of(worker)))).toHaveLength(1);
    } finally {
      process.kill(pid!, "SIGCONT");
    }
    await waitFor("both to be told of", bothIn);
  });

  test("end with the supervisor, in order or not", async () => {
    const workers = childrenOf(service.pid!);
    // The server closes these, which keeps their half of the port for a minute.
    const idle = await Promise.all(Array.from({ length: 10 }, () => connectionTo(service.port)));
    await service.kill("SIGTERM");
    expect(service.exitCode).toBe(0);
    expect(workers.filter(isAlive)).toEqual([]);
    for (const socket of idle) socket.destroy();
    await service.start();
    const orphans = childrenOf(service.pid!);
    expect(orphans).toHaveLength(2);
    await service.kill("SIGKILL");
    await waitFor("the workers to end by themselves", () => !orphans.some(isAlive));
    await service.start();
  });

  test("SIGTERM and SIGINT end it while its workers start, or one is replaced", async () => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      const settings = { ...site.commandSettings(service), WORKERS: "2", PORT: String(await freePort()) };
      const stop = (pid: number) => process.kill(pid, signal);
      expect(await actAt('"started"', settings, stop)).toMatchObject({ exitCode: 0 });
      const starting = startCommand(settings, ["serve"]);
      const started = () => childrenOf(starting.pid);
      const workers = await waitFor("a worker", () => started().length > 0 && started(), { intervalMs: 1 });
      stop(starting.pid);
      expect(await starting.result).toMatchObject({ exitCode: 0 });
      expect(workers.filter(isAlive)).toEqual([]);
    }
    const [worker] = childrenOf(service.pid!);
    process.kill(worker!, "SIGKILL");
    await waitFor("its end", () => !childrenOf(service.pid!).includes(worker!), { intervalMs: 1 });
    await service.kill("SIGTERM");
    expect(service.exitCode).toBe(0);
    await service.start();
  });

  test("it says that it listens after a worker does", async () => {
    const log = service.log();
    const started = log.split("\n").filter((line) => line.includes('"started"'));
    expect(JSON.parse(started[0]!)).toMatchObject({ worker: expect.any(Number) });
    expect(log.indexOf("listening on")).toBeGreaterThan(log.indexOf(started[0]!));
  });

  test("another instance does not share the port, even if it starts at the same moment", async () => {
    const settings = { ...site.commandSettings(service), WORKERS: "2" };
    const expectOneError = ({ exitCode, output, errors }: CommandResult, port: number) => {
      expect({ exitCode, output }).toEqual({ exitCode: 2, output: "" });
      expect(errors).toStartWith(`hourglass cannot start:\nCannot listen on 127.0.0.1:${port}: EADDRINUSE, `);
      expect(errors.split("cannot start")).toHaveLength(2);
    };
    for (const workers of ["1", "2"]) {
      const second = await runCommand({ ...settings, WORKERS: workers, PORT: String(service.port) });
      expectOneError(second, service.port);
    }
    const port = await freePort();
    const both = [1, 2].map(() => startCommand({ ...settings, PORT: String(port) }, ["serve"]));
    expectOneError(await Promise.race(both.map(({ result }) => result)), port);
    for (const { kill } of both) kill("SIGTERM");
    const codes = await Promise.all(both.map(async ({ result }) => (await result).exitCode));
    expect(codes.sort()).toEqual([0, 2]);
  });

  test("settings that do not go with them are refused", async () => {
    const embedded = await runCommand({ WORKERS: "2", PORT: "7777" });
    expect(embedded).toMatchObject({ exitCode: 2 });
    expect(embedded.errors).toContain("WORKERS is 2");
    const anyPort = await runCommand({ ...site.commandSettings(service), WORKERS: "2", PORT: "0" });
    expect(anyPort).toMatchObject({ exitCode: 2 });
    expect(anyPort.errors).toContain("PORT is 0");
    const taken = await runCommand({
      ...site.commandSettings(service),
      WORKERS: "2",
      PORT: String(service.port),
      HOST: "192.0.2.1",
    });
    expect(taken).toMatchObject({ exitCode: 2 });
  });
});

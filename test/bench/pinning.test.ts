/** The load driver and the server it measures stay on the cores that they are given. */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { allowedCores, coresToPin, pinMainThread } from "../../bench/measure/pinning.ts";
import { startLoad } from "../harness/load/http-load.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const TIMEOUT_MS = 60_000;

function threadsOn(pid: number | "self", cores: readonly number[]): number[] {
  const threads = readdirSync(`/proc/${pid}/task`).map(Number);
  const isOn = (thread: number) => Bun.deepEquals(allowedCores(statusOf(`${pid}/task/${thread}`)), cores);
  return threads.filter(isOn);
}

function statusOf(process: string): string {
  return readFileSync(`/proc/${process}/status`, "utf8");
}

test("a list of cores has ranges and single ones", () => {
  expect(allowedCores("Name:\tbun\nCpus_allowed_list:\t0-2,8,10-11\n")).toEqual([0, 1, 2, 8, 10, 11]);
  expect(allowedCores("Cpus_allowed_list:\t3\n")).toEqual([3]);
});

test("of a server only the main thread is kept on a core", async () => {
  const cores = coresToPin();
  if (cores === undefined) return;
  const server = Bun.spawn([process.execPath, "-e", "setInterval(() => {}, 1_000)"]);
  await waitFor("a second thread", () => readdirSync(`/proc/${server.pid}/task`).length > 1);
  pinMainThread(server.pid, cores.server);
  expect(threadsOn(server.pid, [cores.server])).toEqual([server.pid]);
  server.kill();
  await server.exited;
});

test(
  "the load driver stays on a core while it sends, and no other thread of its process does",
  async () => {
    const core = coresToPin()?.driver;
    if (core === undefined) return;
    const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response(null, { status: 204 }) });
    const text = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    const requests = { bytes: Buffer.from(text), starts: Uint32Array.of(0, text.length) };
    const ports = [server.port!];
    const load = startLoad({ ports, connections: 1, requests, ratePerS: 100, seconds: 30, graceS: 1, core });
    await waitFor("the first answer", () => load.acknowledged() > 0);
    expect(threadsOn("self", [core])).toHaveLength(1);
    load.stop();
    expect((await load.result).refused).toBe(0);
    await server.stop(true);
  },
  TIMEOUT_MS,
);

test("a core that is not there is reported", () => {
  expect(() => pinMainThread(process.pid, 9_999)).toThrow(`keeping process ${process.pid} on core 9999 failed`);
});

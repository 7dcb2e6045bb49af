/**
 * `npm run demo`: the service with lively traffic, in a folder that is deleted afterwards, and its page in the browser.
 * Uses PORT if set, else 7777 if free, else any free port.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DemoTraffic } from "./demo-traffic.ts";
import { PROJECT_ROOT } from "./step.ts";

/** The period that the page shows first and the one before: both are filled before it opens. */
const FIRST_HOURS = 48;
const ALL_HOURS = 60 * 24;
const TICK_MS = 200;
const START_TIMEOUT_MS = 20_000;
const STOP_GRACE_MS = 10_000;
const POLL_MS = 50;
const STANDARD_PORT = 7777;
const OPENERS: Partial<Record<NodeJS.Platform, readonly string[]>> = {
  darwin: ["open"],
  win32: ["cmd", "/c", "start", ""],
  linux: ["xdg-open"],
};

async function main(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "hourglass-demo-"));
  const stopped = new AbortController();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(name, () => stopped.abort());
  const port = Number(process.env["PORT"] ?? (await freePort()));
  const service = startService(port, folder);
  void service.exited.then(() => stopped.abort());
  const url = `http://127.0.0.1:${port}`;
  try {
    await whenReady(url, stopped.signal);
    const traffic = new DemoTraffic(url);
    await traffic.fillPast(0, FIRST_HOURS, stopped.signal);
    console.log(`\n  ${url}\n\nCtrl-C ends it, and deletes what it counted.`);
    if (!process.argv.includes("--no-open")) openBrowser(url);
    const past = traffic.fillPast(FIRST_HOURS, ALL_HOURS, stopped.signal);
    await Promise.all([past, traffic.goOn(TICK_MS, stopped.signal)]);
  } catch (error) {
    if (!stopped.signal.aborted) throw error;
  } finally {
    service.kill("SIGTERM");
    const killing = setTimeout(() => service.kill("SIGKILL"), STOP_GRACE_MS);
    await service.exited;
    clearTimeout(killing);
    rmSync(folder, { recursive: true, force: true });
  }
  // Told to end it has done what it was to; that the service ended by itself is another thing.
  return service.exitCode === 0 ? 0 : 1;
}

function startService(port: number, folder: string): Bun.Subprocess {
  const settings = {
    PORT: String(port),
    DATA_DIR: join(folder, "data"),
    LOG_LEVEL: "warn",
  };
  return Bun.spawn([process.execPath, join(PROJECT_ROOT, "src", "main.ts")], {
    env: { PATH: process.env["PATH"], ...settings },
    stdio: ["ignore", "ignore", "inherit"],
  });
}

async function freePort(): Promise<number> {
  return await listened(STANDARD_PORT).catch(() => listened(0));
}

function listened(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(port, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : port));
    });
  });
}

async function whenReady(url: string, signal: AbortSignal): Promise<void> {
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(START_TIMEOUT_MS)]);
  for (;;) {
    const isReady = await fetch(`${url}/readyz`, { signal: deadline }).then(
      ({ ok }) => ok,
      () => false,
    );
    if (isReady) return;
    deadline.throwIfAborted();
    await Bun.sleep(POLL_MS);
  }
}

/** Where there is none, the address has been printed. */
function openBrowser(url: string): void {
  const opener = OPENERS[process.platform] ?? [];
  const hasScreen = process.platform !== "linux" || process.env["DISPLAY"] || process.env["WAYLAND_DISPLAY"];
  if (opener.length === 0 || !hasScreen || Bun.which(opener[0]!) === null) return;
  Bun.spawn([...opener, url], { stdio: ["ignore", "ignore", "ignore"] }).unref();
}

process.exit(await main());

/** Runs one job of driver.c, which blocks its thread until it is over. See http-load.ts. */
import { cc } from "bun:ffi";
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DriverJob } from "./http-load.ts";

declare const self: Worker;

const SOURCE = join(import.meta.dir, "driver.c");

self.onmessage = ({ data: pointers }: MessageEvent<DriverJob>) => {
  const { load } = compiled();
  self.postMessage(load(...pointers));
};

function compiled() {
  const folder = mkdtempSync(join(tmpdir(), "hourglass-driver-"));
  try {
    // TinyCC looks for libc.so, which comes with a compiler's packages: here it finds the one that runs.
    symlinkSync(runningLibc(), join(folder, "libc.so"));
    return cc({
      source: SOURCE,
      flags: [`-L${folder}`],
      symbols: { load: { args: ["ptr", "ptr", "ptr", "ptr", "ptr", "ptr"], returns: "int" } },
    }).symbols;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function runningLibc(): string {
  const path = /\S+\/libc\.so\.6$/m.exec(readFileSync("/proc/self/maps", "utf8"))?.[0];
  if (path === undefined) throw new Error("/proc/self/maps names no libc.so.6");
  return path;
}

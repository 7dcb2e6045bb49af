/** Linux's figures for a running process. */
import { readdirSync, readFileSync } from "node:fs";

export interface ProcessStats {
  readonly rssMb: number;
  /** Memory that no file stands behind: the heaps. */
  readonly heapMb: number;
  readonly openFiles: number;
  readonly sockets: number;
}

const KB_PER_MB = 1024;

export function processStats(pid: number): ProcessStats {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const open = readdirSync(`/proc/${pid}/fd`, { withFileTypes: true }).length;
  return {
    rssMb: megabytes(status, "VmRSS"),
    heapMb: megabytes(status, "RssAnon"),
    openFiles: open,
    sockets: socketCount(pid),
  };
}

function megabytes(status: string, field: string): number {
  const kb = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(status)?.[1];
  if (kb === undefined) throw new Error(`the status of the process has no ${field}`);
  return Number(kb) / KB_PER_MB;
}

/** Sockets of the process itself: its network namespace lists everyone's. */
function socketCount(pid: number): number {
  const { stdout } = Bun.spawnSync(["find", `/proc/${pid}/fd`, "-lname", "socket:*"], { stderr: "ignore" });
  return stdout.toString().split("\n").length - 1;
}

export interface Slope {
  readonly first: number;
  readonly last: number;
  readonly perMinute: number;
}

/** The straight line through the samples that leaves the least squares. */
export function slopeOf(samples: readonly { readonly atMs: number; readonly value: number }[]): Slope {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const meanMs = mean(samples.map(({ atMs }) => atMs));
  const meanValue = mean(samples.map(({ value }) => value));
  let covariance = 0;
  let variance = 0;
  for (const { atMs, value } of samples) {
    covariance += (atMs - meanMs) * (value - meanValue);
    variance += (atMs - meanMs) ** 2;
  }
  const perMs = variance === 0 ? 0 : covariance / variance;
  return { first: samples.at(0)?.value ?? 0, last: samples.at(-1)?.value ?? 0, perMinute: perMs * 60_000 };
}

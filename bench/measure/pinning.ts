/**
 * The load driver and the thread that answers it are kept on a core each. Left to itself, the system puts them on the
 * same core at low rates in some runs and not in others, and this decides what is measured: an event cost a bare server
 * 11 to 16 µs at 5,000/s on the driver's core, and 36 to 48 on the other, whose sleep each request ends. Clients over
 * a network are never on the same core.
 */
import { readFileSync } from "node:fs";

export interface Cores {
  readonly driver: number;
  readonly server: number;
}

/** The first two that this process may use. Undefined if there is only one: then nothing is pinned. */
export function coresToPin(): Cores | undefined {
  const [driver, server] = allowedCores(readFileSync("/proc/self/status", "utf8"));
  return driver === undefined || server === undefined ? undefined : { driver, server };
}

/** In ascending order. The list looks like "0-3,8": see proc(5), Cpus_allowed_list. */
export function allowedCores(status: string): number[] {
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? "";
  return list.split(",").flatMap((range) => {
    const [first, last = first] = range.split("-").map(Number);
    return Array.from({ length: last! - first! + 1 }, (_, n) => first! + n);
  });
}

/** Only the thread that runs the event loop: the others stay free to run where there is room. */
export function pinMainThread(pid: number, core: number): void {
  const { success, stderr } = Bun.spawnSync(["taskset", "--pid", "--cpu-list", `${core}`, `${pid}`]);
  if (!success) throw new Error(`keeping process ${pid} on core ${core} failed: ${stderr.toString().trim()}`);
}

/**
 * Linux's figures for a process and all its descendants, since an instance of the service may have workers.
 * Invariant: a process that ends during the inspection counts for nothing, and is no error.
 */
import { readdirSync, readFileSync } from "node:fs";

/** Per second, in /proc: the same on all of Linux' platforms. */
const TICKS_PER_S = 100;
const KB = 1_024;

interface ProcessStat {
  readonly pid: number;
  readonly parent: number;
  readonly ticks: number;
}

export function processTree(rootPid: number): number[] {
  return treeStats(rootPid).map(({ pid }) => pid);
}

/** User and system time that the living have used, of the whole tree. */
export function cpuMs(rootPid: number): number {
  const ticks = treeStats(rootPid).reduce((sum, stat) => sum + stat.ticks, 0);
  return (ticks * 1_000) / TICKS_PER_S;
}

export function residentBytes(rootPid: number): number {
  return processTree(rootPid).reduce((sum, pid) => sum + residentBytesOf(pid), 0);
}

/** Busy time of all cores since boot. */
export function machineBusyMs(): number {
  const [, user, nice, system, , , irq, softirq] = readFileSync("/proc/stat", "utf8").split("\n")[0]!.split(/ +/);
  const ticks = [user, nice, system, irq, softirq].reduce((sum, text) => sum + Number(text), 0);
  return (ticks * 1_000) / TICKS_PER_S;
}

function treeStats(rootPid: number): ProcessStat[] {
  const byParent = Map.groupBy(allStats(), ({ parent }) => parent);
  const root = statOf(String(rootPid));
  const tree = root === undefined ? [] : [root];
  // Grows while it is walked.
  for (const { pid } of tree) tree.push(...(byParent.get(pid) ?? []));
  return tree;
}

function allStats(): ProcessStat[] {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.map(statOf).filter((stat) => stat !== undefined);
}

function statOf(pid: string): ProcessStat | undefined {
  const text = readProc(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  // The name, the second field, is in brackets, and may hold anything.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const [parent, userTicks, systemTicks] = [fields[1], fields[11], fields[12]].map(Number);
  return { pid: Number(pid), parent: parent!, ticks: userTicks! + systemTicks! };
}

function residentBytesOf(pid: number): number {
  const status = readProc(`/proc/${pid}/status`) ?? "";
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * KB;
}

function readProc(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** How many files, and so connections, a process may hold open: a shell's limit is meant for people. */
import { readFileSync } from "node:fs";

const LIMIT = /^Max open files\s+(\d+|unlimited)/m;

export function openFilesMax(pid: number): number {
  const soft = LIMIT.exec(readFileSync(`/proc/${pid}/limits`, "utf8"))?.[1];
  if (soft === undefined) throw new Error(`the limits of process ${pid} name no number of open files`);
  return soft === "unlimited" ? Number.POSITIVE_INFINITY : Number(soft);
}

/** Raises the limit as far as this user may; openFilesMax() tells the result. Children inherit it. */
export function raiseOpenFiles(pid: number, atLeast: number): void {
  if (openFilesMax(pid) >= atLeast || Bun.which("prlimit") === null) return;
  Bun.spawnSync(["prlimit", "--pid", String(pid), `--nofile=${atLeast}`], {
    stdout: "ignore",
    stderr: "ignore",
  });
}

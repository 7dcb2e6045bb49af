import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

const GIVE_UP_MS = 10_000;

/** Stops a process until SIGCONT. Its threads may run on after the signal, but not after this function returns. */
export function freeze(pid: number): void {
  process.kill(pid, "SIGSTOP");
  const giveUpAt = performance.now() + GIVE_UP_MS;
  while (!threadsOf(pid).every(isStopped)) {
    if (performance.now() > giveUpAt) throw new Error(`process ${pid} still runs ${GIVE_UP_MS} ms after SIGSTOP`);
  }
}

/** Folders of /proc; empty on systems without it. */
function threadsOf(pid: number): string[] {
  const tasks = `/proc/${pid}/task`;
  return existsSync(tasks) ? readdirSync(tasks).map((thread) => join(tasks, thread, "stat")) : [];
}

/** Also true if the thread has ended. */
function isStopped(stat: string): boolean {
  try {
    return /\) [TtZX] /.test(readFileSync(stat, "utf8"));
  } catch {
    return true;
  }
}

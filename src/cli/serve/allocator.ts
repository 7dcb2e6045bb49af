/**
 * Keeps freed memory for the next batch. By default the allocator and the garbage collector return pages to the system
 * within a tenth of a second, and request them again: under load that took a third of the server's CPU time. Both read
 * their settings before any code of ours runs, so the process replaces itself (execve).
 */
import { ownCommand } from "./own-command.ts";

/**
 * Measured on two cores, with Redis and MySQL: an event takes the server 36 to 47 µs with the first of these alone, and
 * 24 to 32 with the second as well. The price is some 30 MB more after load.
 */
export const MEMORY_SETTINGS: Readonly<Record<string, string>> = {
  /**
   * After how many ms the allocator (mimalloc) returns a free segment. With never (-1), memory grew for as long as it
   * was measured.
   */
  MIMALLOC_PURGE_DELAY: "60000",
  /** No search for free pages between used ones each time the event loop waits. */
  MIMALLOC_PURGE_HOLES: "0",
  /**
   * No pages of 2 MB. With them a program took 120 MB idle and 170 to 193 at 10,000 events/s, without them 71 and 119
   * to 133; the CPU time per event was the same within the noise (four runs in turns: 48 to 57 µs, and 45 to 65).
   */
  MIMALLOC_ALLOW_THP: "0",
};

/** Does not return if the process is replaced. A setting that is in the environment already stays as it is. */
export function keepFreedMemory(environment: Readonly<Record<string, string | undefined>>): void {
  const areAllSet = Object.keys(MEMORY_SETTINGS).every((name) => environment[name] !== undefined);
  if (areAllSet || process.execve === undefined) return;
  const [program, ...args] = ownCommand();
  const settings = { ...MEMORY_SETTINGS, ...environment } as Record<string, string>;
  process.execve(program!, [program!, ...process.execArgv, ...args], settings);
}

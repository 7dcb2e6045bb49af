/**
 * Settings of the allocator and of the compiler. Both read them before any of our code runs, so the process replaces
 * itself (execve) by one that has them.
 *
 * By default the allocator and the garbage collector return freed pages to the system within a tenth of a second and
 * request them again for the next batch, which took a third of the server's CPU time under load.
 */

/**
 * Measured on two cores with Redis and MySQL: an event takes the server 36 to 47 µs with the first setting alone, 24 to
 * 32 with the second too, at the price of about 30 MB more after load.
 */
export const STARTUP_ENVIRONMENT: Readonly<Record<string, string>> = {
  /** After how many ms the allocator (mimalloc) returns a free segment. With -1 (never), memory kept growing. */
  MIMALLOC_PURGE_DELAY: "60000",
  /** Disables the search for free pages between used ones each time the event loop waits. */
  MIMALLOC_PURGE_HOLES: "0",
  /**
   * Disables 2 MB pages. With them the process took 120 MB idle and 170 to 193 at 10,000 events/s, without them 71 and
   * 119 to 133; the CPU time per event was the same within the noise (four alternating runs: 48 to 57 µs, and 45 to
   * 65).
   */
  MIMALLOC_ALLOW_THP: "0",
  /**
   * Sixteen times the default: only what runs very often is compiled a third time. At 5,000 events/s the compiler takes
   * 1.5 to 3.2 µs per event with it and 4.2 to 5.7 without in the first half minute; the maximum is the same. Bun ends
   * at once if it does not know the option.
   */
  BUN_JSC_thresholdForFTLOptimizeAfterWarmUp: "1000000",
};

/** Does not return if it replaces the process. Settings already in the environment are kept. */
export function applyStartupEnvironment(environment: Readonly<Record<string, string | undefined>>): void {
  const areAllSet = Object.keys(STARTUP_ENVIRONMENT).every((name) => environment[name] !== undefined);
  if (areAllSet || process.execve === undefined) return;
  const [program, ...args] = ownCommand();
  const settings = { ...STARTUP_ENVIRONMENT, ...environment } as Record<string, string>;
  process.execve(program!, [program!, ...process.execArgv, ...args], settings);
}

/** The command that starts this program, from source or as a binary. */
export function ownCommand(): string[] {
  const isBinary = Bun.main.startsWith("/$bunfs/");
  return isBinary ? [process.execPath, "serve"] : [process.execPath, Bun.main, "serve"];
}

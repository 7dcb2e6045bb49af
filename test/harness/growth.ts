/**
 * Measures how the duration of some work grows with the size of its input.
 *
 * The input is doubled six times: linear work then takes 64 times as long, quadratic work 4,096 times. The bound lies
 * between, far from both. A single jump (a full block, a cold cache, an object that became a dictionary and costs 12
 * times as much) does not decide: growth must be found even without the largest step in the window. Each time is the
 * shortest of several runs, in CPU time, which other processes do not lengthen. Growth counts only if a second
 * measurement confirms it.
 */
import { dlopen, ptr } from "bun:ffi";

const FIRST_BYTES = 256;
const STEP = 4;
const WINDOW_STEPS = 3;
const GROWTH_MAX = 384;
/**
 * Without the largest step: linear work takes 16 times as long, quadratic work 256 times. JSON.parse of an object with
 * thousands of members, which outgrow one cache after another, takes 40 to 50 times as long.
 */
const GROWTH_WITHOUT_STEP_MAX = 96;
const RUNS = 3;
/** Such a run is not repeated: a disturbance makes it seem longer, and what seems to grow is measured again. */
const LONG_RUN_MS = 3;
/** A run repeats the work for at least this long, so that short work can be timed. */
const RUN_MS = 0.3;
/** First the smallest input is repeated for this long: compiled code would make larger ones seem cheap. */
const WARM_UP_MS = 5;
/** Inputs grow until one takes this long, but at least through one window. */
const ENOUGH_MS = 30;

export interface Work {
  /** Makes an input of about this many bytes, and returns what is to be timed. */
  readonly prepare: (bytes: number) => () => unknown;
  /** The largest input that is accepted. */
  readonly maxBytes: number;
  /** It is done by other threads of this process. */
  readonly isInPool?: boolean;
}

export async function isLinear(work: Work): Promise<boolean> {
  return (await grows(work)) || (await grows(work));
}

/** True if no window of sizes grew faster than the bound. */
async function grows({ prepare, maxBytes, isInPool = false }: Work): Promise<boolean> {
  const times: number[] = [];
  const cpuMs = isInPool ? cpuMsOfProcess : cpuMsOfThread;
  await msOf(prepare(FIRST_BYTES), cpuMs, WARM_UP_MS);
  for (let bytes = FIRST_BYTES; bytes <= maxBytes; bytes *= STEP) {
    const ms = await shortestMs(prepare(bytes), cpuMs);
    times.push(ms);
    if (times.length <= WINDOW_STEPS) continue;
    if (growsTooMuch(times.slice(-1 - WINDOW_STEPS))) return false;
    if (ms > ENOUGH_MS) break;
  }
  return true;
}

function growsTooMuch(window: readonly number[]): boolean {
  const growth = window.at(-1)! / window[0]!;
  const largestStep = Math.max(...window.slice(1).map((ms, i) => ms / window[i]!));
  return growth > GROWTH_MAX && growth / largestStep > GROWTH_WITHOUT_STEP_MAX;
}

async function shortestMs(run: () => unknown, cpuMs: () => number): Promise<number> {
  let shortest = Number.POSITIVE_INFINITY;
  for (let i = 0; i < RUNS && !(i > 0 && shortest > LONG_RUN_MS); i++) {
    shortest = Math.min(shortest, await msOf(run, cpuMs, RUN_MS));
  }
  return shortest;
}

/** Of one run of those that fill this time. */
async function msOf(run: () => unknown, cpuMs: () => number, enoughMs: number): Promise<number> {
  const startMs = cpuMs();
  let repeats = 0;
  let tookMs = 0;
  do {
    // Twice as often each time: to read the clock takes longer than short work.
    for (let left = Math.max(1, repeats); left > 0; left--) {
      const result = run();
      // Awaiting what is no promise would add the cost of a turn to short work.
      if (result instanceof Promise) await result.catch(() => {});
      repeats += 1;
    }
    tookMs = cpuMs() - startMs;
  } while (tookMs < enoughMs);
  return tookMs / repeats;
}

/** Excludes the compilers and garbage collectors, which run beside this thread at any time. */
function cpuMsOfThread(): number {
  return clockMs(THREAD_CLOCK) ?? inMs(process.threadCpuUsage());
}

function cpuMsOfProcess(): number {
  return clockMs(PROCESS_CLOCK) ?? inMs(process.cpuUsage());
}

function inMs({ user, system }: NodeJS.CpuUsage): number {
  return (user + system) / 1_000;
}

/** Of Linux. */
const PROCESS_CLOCK = 2;
const THREAD_CLOCK = 3;
const time = new BigInt64Array(2);
const clock = openClock();

/** To the nanosecond, where process.cpuUsage() advances by 1 to 4 ms at a time. */
function clockMs(clockId: number): number | undefined {
  if (clock?.(clockId, ptr(time)) !== 0) return undefined;
  return Number(time[0]) * 1_000 + Number(time[1]) / 1_000_000;
}

/** Undefined without glibc. */
function openClock() {
  try {
    const { symbols } = dlopen("libc.so.6", { clock_gettime: { args: ["i32", "ptr"], returns: "i32" } });
    return symbols.clock_gettime;
  } catch {
    return undefined;
  }
}

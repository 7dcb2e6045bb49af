import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { CommitPace } from "../../../src/pipeline/commit/paced-queue.ts";
import { Random } from "../../harness/pipeline/random.ts";

const INTERVAL_MS = 2;
const COMMIT_MS = 0.4;
/** Between two looks at the pace. */
const STEP_MS = 0.01;

/** Of the thread's time, for each event. */
const EVENT_MS = 0.012;

interface Commit {
  readonly startMs: number;
  readonly arrivedMs: readonly number[];
  /** Whether the thread slept until it started. */
  readonly hasSlept: boolean;
}

/** Commits what arrives at these times. `onAnswer`: when clients that were just answered send their next events. */
function commits(
  arrivals: readonly number[],
  intervalMs = INTERVAL_MS,
  onAnswer: (count: number, nowMs: number) => readonly number[] = () => [],
  endMs = Number.POSITIVE_INFINITY,
  eventMs = EVENT_MS,
): Commit[] {
  const pace = new CommitPace(intervalMs, () => busyMs);
  let busyMs = 0;
  let wakeMs = 0;
  let lastStartMs = 0;
  const coming = [...arrivals].sort((a, b) => a - b);
  const made: Commit[] = [];
  let waiting: number[] = [];
  let inFlight: number[] = [];
  let answerMs = Number.POSITIVE_INFINITY;
  for (let step = 0; coming.length + waiting.length + inFlight.length > 0 && step * STEP_MS < endMs; step++) {
    const nowMs = step * STEP_MS;
    if (nowMs < wakeMs) continue;
    while (coming.length > 0 && coming[0]! <= nowMs) {
      waiting.push(coming.shift()!);
      busyMs += eventMs;
    }
    if (nowMs >= answerMs) {
      pace.answered(inFlight.length, waiting.length);
      coming.push(...onAnswer(inFlight.length, nowMs));
      coming.sort((a, b) => a - b);
      inFlight = [];
      answerMs = Number.POSITIVE_INFINITY;
    }
    if (inFlight.length > 0 || waiting.length === 0) continue;
    const waitMs = pace.waitMs(nowMs, waiting.length);
    if (waitMs > 0) {
      if (pace.maySleep(nowMs)) wakeMs = nowMs + waitMs;
      continue;
    }
    pace.started(nowMs, waiting.length);
    made.push({ startMs: nowMs, arrivedMs: waiting, hasSlept: wakeMs > lastStartMs });
    lastStartMs = nowMs;
    inFlight = waiting;
    waiting = [];
    answerMs = nowMs + COMMIT_MS;
  }
  return made;
}

function evenly(perSecond: number, forMs: number): number[] {
  return Array.from({ length: (perSecond * forMs) / 1_000 }, (_, i) => (i * 1_000) / perSecond);
}

/** Arrivals of many independent clients. */
function randomly(perSecond: number, forMs: number): number[] {
  const random = new Random(1);
  return Array.from({ length: (perSecond * forMs) / 1_000 }, () => random.fraction() * forMs);
}

function longestWaitMs(made: readonly Commit[]): number {
  return Math.max(...made.map(({ startMs, arrivedMs }) => startMs - arrivedMs[0]!));
}

function sleptOf(made: readonly Commit[]): number {
  return made.filter(({ hasSlept }) => hasSlept).length;
}

describe("the pace of commits", () => {
  test("lets an event of a quiet moment go at once", () => {
    expect(longestWaitMs(commits([1, 100, 200, 300]))).toBeLessThan(2 * STEP_MS);
  });

  test("lets each go at once while they come no faster than the interval", () => {
    expect(longestWaitMs(commits(evenly(500, 1_000)))).toBeLessThan(2 * STEP_MS);
  });

  test.each([1_000, 2_000, 5_000, 10_000])("makes a commit per interval at %i events/s", (perSecond) => {
    expect(commits(randomly(perSecond, 1_000)).length).toBeWithin(450, 600);
  });

  test("lets a few commits follow a quiet moment without a wait", () => {
    expect(longestWaitMs(commits([100, 100.5, 101]))).toBeLessThan(2 * STEP_MS);
    expect(longestWaitMs(commits(Array.from({ length: 20 }, (_, i) => 100 + i / 2)))).toBeGreaterThan(1);
  });

  test("lets a large batch go at once", () => {
    const pace = new CommitPace(INTERVAL_MS, () => 0);
    for (let commit = 0; commit < 10; commit++) pace.started(0, 1);
    pace.answered(1_000, 0);
    expect(pace.waitMs(0, 63)).toBe(INTERVAL_MS);
    expect(pace.waitMs(0, 64)).toBe(0);
  });

  test.each([2, 3, 16])("does not slow down %i clients that each wait for an answer", (clients) => {
    const again = (count: number, nowMs: number) => Array.from({ length: count }, (_, i) => nowMs + 0.02 * (i + 1));
    const first = Array.from({ length: clients }, () => 0);
    const paced = commits(first, INTERVAL_MS, again, 200).length;
    const unpaced = commits(first, 0, again, 200).length;
    const perCommit = (count: number) => 200 / count;
    // All have sent again 0.02 ms after each other: that much a commit of all waits for the last of them.
    expect(perCommit(paced)).toBeLessThan(perCommit(unpaced) + 0.02 * clients + STEP_MS);
  });

  test("makes nothing wait for longer than the interval, but for a commit in flight", () => {
    const times = fc.array(fc.double({ min: 0, max: 50, noNaN: true }), { minLength: 1, maxLength: 300 });
    fc.assert(
      fc.property(times, (arrivals) => {
        const made = commits(arrivals);
        expect(longestWaitMs(made)).toBeLessThan(INTERVAL_MS + 2 * STEP_MS);
        expect(made.flatMap(({ arrivedMs }) => arrivedMs)).toEqual([...arrivals].sort((a, b) => a - b));
      }),
    );
  });

  test.each([2_000, 5_000, 20_000])("sleeps through most waits at %i events/s", (perSecond) => {
    const made = commits(randomly(perSecond, 1_000));
    expect(sleptOf(made) / made.length).toBeWithin(0.7, 15 / 16 + 0.01);
  });

  test("stays awake while clients wait for answers", () => {
    const again = (count: number, nowMs: number) => Array.from({ length: count }, (_, i) => nowMs + 0.02 * (i + 1));
    const first = Array.from({ length: 16 }, () => 0);
    // The first answers go to one client alone, and the others look as if they did not wait for any.
    expect(sleptOf(commits(first, INTERVAL_MS, again, 200))).toBeLessThanOrEqual(1);
  });

  test("stays awake while the thread is busy", () => {
    expect(sleptOf(commits(randomly(28_000, 200), INTERVAL_MS, undefined, undefined, 0.03))).toBe(0);
  });

  test("of 0 lets each commit start as soon as the one before has ended", () => {
    const made = commits(evenly(5_000, 100), 0);
    const gaps = made.slice(1).map(({ startMs }, i) => startMs - made[i]!.startMs);
    expect(Math.max(...gaps)).toBeLessThan(COMMIT_MS + 0.2 + 2 * STEP_MS);
  });
});

/** A log without repetitions: each repeated line is counted, and the last state is logged last. */
import { afterEach, beforeEach, describe, expect, jest, test } from "bun:test";
import { CalmLog } from "../../../src/runtime/log.ts";
import { RecordedLog } from "../../harness/pipeline/pipeline-harness.ts";

const WINDOW_MS = 10_000;

describe("a calm log", () => {
  let seen: RecordedLog;
  let log: CalmLog;

  beforeEach(() => {
    jest.useFakeTimers({ now: 0 });
    seen = new RecordedLog();
    log = new CalmLog(seen, Date.now);
  });
  afterEach(() => {
    log.close();
    jest.useRealTimers();
  });

  const lines = (): object[] => seen.entries.map(({ level, message, fields }) => ({ level, message, ...fields }));

  test("hands on what is new at once, and different things apart", () => {
    log.info({ writer: "a" }, "adopted");
    log.info({ writer: "b" }, "adopted");
    log.warn({ writer: "a" }, "adopted");
    log.error({}, "failed");
    expect(lines()).toEqual([
      { level: "info", message: "adopted", writer: "a" },
      { level: "info", message: "adopted", writer: "b" },
      { level: "warn", message: "adopted", writer: "a" },
      { level: "error", message: "failed" },
    ]);
    jest.advanceTimersByTime(WINDOW_MS);
    expect(lines()).toHaveLength(4);
  });

  test("sums up repeated lines, with their latest fields, in the order of their last repetition", () => {
    for (const awayMs of [1, 2, 3]) {
      log.warn({ error: "refused" }, "unavailable");
      jest.advanceTimersByTime(1_000);
      log.info({ awayMs }, "back");
    }
    log.warn({ error: "refused" }, "unavailable");
    expect(lines()).toEqual([
      { level: "warn", message: "unavailable", error: "refused" },
      { level: "info", message: "back", awayMs: 1 },
    ]);
    jest.advanceTimersByTime(WINDOW_MS);
    const lastAt = new Date(3_000).toISOString();
    expect(lines().slice(2)).toEqual([
      { level: "info", message: "back", awayMs: 3, repeats: 2, sinceMs: 9_000, lastAt },
      { level: "warn", message: "unavailable", error: "refused", repeats: 3, sinceMs: 10_000, lastAt },
    ]);
  });

  test("logs a continuing repetition once per window, and starts over after a quiet window", () => {
    const say = (times: number) => {
      for (let i = 0; i < times; i++) log.warn({}, "again");
    };
    say(1_000);
    jest.advanceTimersByTime(WINDOW_MS);
    say(1_000);
    jest.advanceTimersByTime(WINDOW_MS);
    expect(lines().map((line) => (line as { repeats?: number }).repeats)).toEqual([undefined, 999, 1_000]);
    jest.advanceTimersByTime(2 * WINDOW_MS);
    say(1);
    expect(seen.entries).toHaveLength(4);
    expect(seen.entries[3]!.fields).toEqual({});
  });

  test("treats requests that fail in the same way as repeats, whatever their ids", () => {
    for (const requestId of ["a", "b", "c"]) log.error({ requestId, error: "refused" }, "request failed");
    log.close();
    expect(lines()).toHaveLength(2);
    expect(lines()[1]).toMatchObject({ requestId: "c", repeats: 2 });
  });

  test("distinguishes a bounded number of lines, and drops no line without counting it", () => {
    for (let i = 0; i < 1_000; i++) log.warn({ error: `of kind ${i}` }, "many");
    log.close();
    const counted = seen.entries.reduce((sum, { fields }) => {
      const { repeats } = fields as { repeats?: number };
      return sum + (repeats ?? 1);
    }, 0);
    expect(counted).toBe(1_000);
    expect(seen.entries.length).toBeLessThan(210);
  });
});

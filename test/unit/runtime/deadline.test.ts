import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SharedDeadline, withDeadline, withStallDeadline } from "../../../src/runtime/clock.ts";
import { waitFor } from "../../harness/service/wait-for.ts";

const late = () => new Error("too late");

/** Holds the event loop: for this long, and until the probe says so. */
function keepBusy(ms: number, isOver: () => boolean): void {
  const until = performance.now() + ms;
  while (performance.now() < until || !isOver());
}

const never = () => Promise.withResolvers<never>().promise;

/** Shared among all promises with the same time. */
const shared = new Map<number, SharedDeadline>();
function withSharedDeadline<T>(promise: Promise<T>, ms: number, onDeadline: () => Error): Promise<T> {
  const deadline = shared.get(ms) ?? new SharedDeadline(ms);
  shared.set(ms, deadline);
  return deadline.limit(promise, onDeadline);
}

const KINDS = [
  ["a deadline", withDeadline],
  ["a shared deadline", withSharedDeadline],
] as const;

test.each(KINDS)("%s answers what settles in time; what does not is an error", async (_, limit) => {
  expect(await limit(Promise.resolve(7), 1_000, late)).toBe(7);
  const failing = limit(Promise.reject(new Error("of its own")), 1_000, late);
  expect(await failing.catch(({ message }) => message)).toBe("of its own");
  const waiting = limit(never(), 1, late);
  expect(await waiting.catch(({ message }) => message)).toBe("too late");
});

test("a shared deadline gives each promise its own time", async () => {
  const deadline = new SharedDeadline(50);
  const startMs = performance.now();
  const first = deadline.limit(never(), late).catch(() => performance.now() - startMs);
  keepBusy(20, () => true);
  const secondStartMs = performance.now();
  const second = deadline.limit(never(), late).catch(() => performance.now() - secondStartMs);
  expect(await first).toBeGreaterThanOrEqual(50);
  expect(await second).toBeGreaterThanOrEqual(50);
});

test.each(KINDS)("%s counts what has arrived, though the process was too busy to look at it", async (_, limit) => {
  const folder = mkdtempSync(join(tmpdir(), "hourglass-deadline-"));
  // It writes its output before its file: once that has grown, the answer has arrived.
  const copy = join(folder, "copy");
  const echo = Bun.spawn(["tee", copy], { stdin: "pipe", stdout: "pipe" });
  let sentBytes = 0;
  const reader = echo.stdout.getReader();
  const answer = async (text: string) => {
    echo.stdin.write(text);
    echo.stdin.flush();
    sentBytes += text.length;
    return new TextDecoder().decode((await reader.read()).value);
  };
  try {
    expect(await answer("first")).toBe("first");
    for (let round = 0; round < 20; round++) {
      const answered = limit(answer(`round ${round}`), 10, late);
      keepBusy(40, () => statSync(copy).size === sentBytes);
      expect(await answered).toBe(`round ${round}`);
    }
  } finally {
    echo.kill();
    rmSync(folder, { recursive: true });
  }
});

test("as long as something moves there is time; a standstill is an error", async () => {
  let moved = 0;
  const moving = setInterval(() => {
    moved += 1;
  }, 5);
  try {
    const slow = waitFor("ten steps", () => moved >= 10).then(() => "done");
    expect(await withStallDeadline(slow, 20, () => moved, late)).toBe("done");
    await expect(withStallDeadline(Promise.reject(late()), 20, () => moved, late)).rejects.toThrow("too late");
  } finally {
    clearInterval(moving);
  }
  await expect(withStallDeadline(never(), 20, () => moved, late)).rejects.toThrow("too late");
});

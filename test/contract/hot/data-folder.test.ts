/** The embedded hot store when its files are deleted or replaced, and when the machine's clock is set. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { cpSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DAY_MS, type Event } from "../../../src/domain/event.ts";
import { EmbeddedHotStore } from "../../../src/store/embedded/hot-store.ts";
import type { HotStore } from "../../../src/store/hot.ts";
import { batchOf } from "../../harness/pipeline/batches.ts";
import { click, clicksOf, committed, initializeAndRegister, NOON, rejectionOf } from "./setup.ts";

const CHANGES: Readonly<Record<string, (dataDir: string) => void>> = {
  "the folder is deleted": (dataDir) => rmSync(dataDir, { recursive: true }),
  "the log is deleted": (dataDir) => rmSync(join(dataDir, "journal.sqlite-wal")),
  "the journal is deleted": (dataDir) => rmSync(join(dataDir, "journal.sqlite")),
  "the folder is replaced by a copy": (dataDir) => {
    renameSync(dataDir, `${dataDir}-old`);
    cpSync(`${dataDir}-old`, dataDir, { recursive: true });
  },
};

let dataDir: string;
let wallMs: number;
let elapsedMs: number;
let store: HotStore;

function openStore(): HotStore {
  return new EmbeddedHotStore({ dataDir, now: () => wallMs, monotonicMs: () => elapsedMs });
}

beforeEach(async () => {
  dataDir = mkdtempSync(join(tmpdir(), "hourglass-folder-"));
  [wallMs, elapsedMs] = [NOON, 0];
  store = openStore();
  await store.open();
  await initializeAndRegister(store, "w1");
});

afterEach(async () => {
  await store.close();
  rmSync(dataDir, { recursive: true, force: true });
  rmSync(`${dataDir}-old`, { recursive: true, force: true });
});

for (const [what, change] of Object.entries(CHANGES)) {
  test(`${what}: the next commit is refused, and the store is not ready any more`, async () => {
    expect(await store.commit("w1", 1, batchOf(clicksOf("u", 10)))).toEqual(committed());
    change(dataDir);
    const error = await rejectionOf(store.commit("w1", 2, batchOf(clicksOf("v", 10))));
    expect(error.message).toContain("was deleted or replaced while it was in use: restart the service");
    expect(store.isReady).toBe(false);
    expect((await rejectionOf(store.open())).message).toContain("restart the service");
  });
}

let seq = 0;

/** Whether the event counted. */
async function count(event: Event, writer = "w1"): Promise<boolean> {
  const result = await store.commit(writer, ++seq, batchOf([event]));
  if (result.status !== "committed") throw new Error(result.status);
  return result.duplicates.length === 0;
}

test("a clock that is set two days ahead and back makes no id unknown", async () => {
  seq = 0;
  expect(await count(click("u", "id-1"))).toBe(true);
  wallMs += 2 * DAY_MS;
  expect(await count(click("u", "id-2"))).toBe(true);
  await store.retire(0);
  wallMs -= 2 * DAY_MS;
  expect(await count(click("u", "id-1"))).toBe(false);
  elapsedMs += DAY_MS;
  expect(await count(click("u", "id-1"))).toBe(true);
});

test("a clock that is set back over a restart makes no id last for longer, or for less", async () => {
  seq = 0;
  expect(await count(click("u", "id-1"))).toBe(true);
  await store.trimJournal("w1", 1);
  await store.removeJournal("w1", 1);
  await store.close();
  [wallMs, elapsedMs] = [NOON - 2 * DAY_MS, 5];
  store = openStore();
  await store.open();
  await initializeAndRegister(store, "w2");
  seq = 0;
  expect(await count(click("u", "id-1"), "w2")).toBe(false);
  elapsedMs += DAY_MS + 5;
  expect(await count(click("u", "id-1"), "w2")).toBe(true);
});

/** What the registry admits, refresh after refresh, with a scripted cold store. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { withoutDuplicates } from "../../src/domain/event.ts";
import { StreamRegistry, StreamReservation } from "../../src/pipeline/commit/stream-registry.ts";
import type { ColdStore } from "../../src/store/cold.ts";
import { embeddedColdStore } from "../../src/store/embedded/cold-store.ts";
import { batchOf } from "../harness/pipeline/batches.ts";

let folder: string;
let cold: ColdStore;
let seq: number;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "hourglass-streams-"));
  cold = embeddedColdStore({ dataDir: folder });
  await cold.open();
  seq = 0;
});

afterEach(async () => {
  await cold.close();
  rmSync(folder, { recursive: true, force: true });
});

async function store(...streams: string[]): Promise<void> {
  const batch = batchOf(streams.map((stream) => ({ stream, at: 1, kind: "click", user: "u", id: undefined })));
  seq += 1;
  await cold.flush("w", [withoutDuplicates(seq, batch, [])]);
}

function admitted(registry: StreamRegistry, ...streams: string[]): string[] {
  return streams.filter((stream) => registry.reserve(stream));
}

test("new streams up to the bound, and those again", () => {
  const registry = new StreamRegistry(cold, 2);
  expect(admitted(registry, "a", "b", "c", "a", "b", "c")).toEqual(["a", "b", "a", "b"]);
});

test("what is stored is never refused, though there are more than the bound", async () => {
  await store("a", "b", "c");
  const registry = new StreamRegistry(cold, 2);
  await registry.refresh();
  expect(admitted(registry, "a", "b", "c", "d")).toEqual(["a", "b", "c"]);
});

test("an admitted stream that is not stored yet stays admitted, also after a refresh", async () => {
  const registry = new StreamRegistry(cold, 2);
  expect(admitted(registry, "a", "b")).toEqual(["a", "b"]);
  await registry.refresh();
  expect(admitted(registry, "c", "a", "b")).toEqual(["a", "b"]);
  await store("a", "b");
  await registry.refresh();
  await registry.refresh();
  expect(admitted(registry, "c", "b", "a")).toEqual(["b", "a"]);
});

test("an admitted stream without a stored event makes room immediately", () => {
  const registry = new StreamRegistry(cold, 1);
  expect(admitted(registry, "refused in the end", "b")).toEqual(["refused in the end"]);
  registry.release("refused in the end");
  expect(admitted(registry, "b")).toEqual(["b"]);
});

test("a name holds its place until the last request with it is over", () => {
  const registry = new StreamRegistry(cold, 1);
  expect(admitted(registry, "a", "a")).toEqual(["a", "a"]);
  registry.release("a");
  expect(admitted(registry, "b")).toEqual([]);
  registry.release("a");
  expect(admitted(registry, "b")).toEqual(["b"]);
});

test("a name that was committed holds its place after its request, until two refreshes found it unstored", async () => {
  const registry = new StreamRegistry(cold, 1);
  expect(admitted(registry, "a")).toEqual(["a"]);
  registry.noteCommitted("a");
  registry.release("a");
  expect(admitted(registry, "b", "a")).toEqual(["a"]);
  await registry.refresh();
  expect(admitted(registry, "b", "a")).toEqual(["a"]);
  await registry.refresh();
  expect(admitted(registry, "b")).toEqual(["b"]);
});

test("a request counts each of its names once, and releases them all", () => {
  const registry = new StreamRegistry(cold, 2);
  const request = new StreamReservation(registry);
  expect(["a", "b", "c", "a", "b"].map(request.admits)).toEqual([true, true, false, true, true]);
  request.release();
  expect(admitted(registry, "c", "d")).toEqual(["c", "d"]);
});

test("an unavailable cold store changes nothing", async () => {
  await store("a");
  const registry = new StreamRegistry(cold, 1);
  await registry.refresh();
  await cold.close();
  expect(await registry.refresh().catch((error: Error) => error.name)).toBe("ColdUnavailableError");
  expect(admitted(registry, "a", "b")).toEqual(["a"]);
});

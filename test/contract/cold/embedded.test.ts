/** The embedded cold store: the contract, and faults of files and disks. */
import { Database } from "bun:sqlite";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HOUR_MS } from "../../../src/domain/event.ts";
import type { ColdStore } from "../../../src/store/cold.ts";
import { embeddedColdStore } from "../../../src/store/embedded/cold-store.ts";
import { rowPieces } from "../../../src/store/sql/rows.ts";
import { coldStoreInThread } from "../../../src/store/thread/proxy.ts";
import { presetInFolder } from "../../harness/pipeline/test-users.ts";
import { type StoredHour, wholeHours } from "../../harness/service/stored.ts";
import { coldStoreContract } from "./contract/contract.ts";
import {
  batchOf,
  click,
  expectConsistent,
  type Harness,
  mixedEvents,
  NOON,
  PARTS_PER_HOUR,
  rejectionOf,
  SELECT_EVENTS,
  SELECT_HOURS,
  SELECT_WRITERS,
  STREAM,
} from "./setup.ts";

function sqliteHarness(dataDir: string, onEnd: () => void, isInThread = false): Harness {
  if (existsSync(dataDir) && statSync(dataDir).isDirectory()) presetInFolder(dataDir);
  const stores: ColdStore[] = [];
  const make = () => {
    const store = embeddedColdStore({ dataDir, partsPerHour: PARTS_PER_HOUR });
    return isInThread ? coldStoreInThread({ dataDir, mysqlUrl: undefined }, store) : store;
  };
  const query = <Row>(sql: string): Row[] => {
    const database = new Database(join(dataDir, "cold.sqlite"), { strict: true });
    try {
      return database.query<Row, []>(sql).all();
    } finally {
      database.close();
    }
  };
  return {
    store() {
      const store = make();
      stores.push(store);
      return store;
    },
    events: async () => query(SELECT_EVENTS),
    hours: async () => wholeHours(query<StoredHour>(SELECT_HOURS)),
    hourParts: async () => query(SELECT_HOURS),
    writers: async () => query(SELECT_WRITERS),
    run: async (sql) => void query(sql),
    async end() {
      await Promise.all(stores.map((store) => store.close()));
      onEnd();
    },
  };
}

async function openSqlite(isInThread = false): Promise<Harness> {
  const dataDir = mkdtempSync(join(tmpdir(), "hourglass-cold-"));
  return sqliteHarness(dataDir, () => rmSync(dataDir, { recursive: true, force: true }), isInThread);
}

coldStoreContract("embedded", () => openSqlite());
coldStoreContract("embedded, in a thread", () => openSqlite(true));

describe("cold store: in a thread", () => {
  test("a thread that ends rejects the calls in flight, and the next call starts another", async () => {
    const folder = mkdtempSync(join(tmpdir(), "hourglass-thread-"));
    const entry = join(folder, "entry.ts");
    // It ends when it gets a request for a watermark, and knows only the newest hour.
    writeFileSync(
      entry,
      `self.onmessage = ({ data: { number, method } }) => {
         if (method === "watermark") setImmediate(() => { throw new Error("a bug in here"); });
         if (method === "newestHour") self.postMessage({ number, result: 7 });
       };`,
    );
    const place = { dataDir: folder, mysqlUrl: undefined };
    const store = coldStoreInThread(place, embeddedColdStore({ dataDir: folder }), entry);
    try {
      for (let round = 0; round < 3; round++) {
        const waiting = rejectionOf(store.read({ stream: STREAM, hour: NOON }));
        expect((await rejectionOf(store.watermark("w"))).message).toContain("a bug in here");
        await waiting;
        expect(await store.newestHour()).toBe(7);
      }
    } finally {
      const late = rejectionOf(store.watermark("w"));
      await store.close();
      await late;
      rmSync(folder, { recursive: true, force: true });
    }
    expect((await rejectionOf(store.newestHour())).message).toContain("closed");
  });
});

test("rows are made in the order of the table's primary key", () => {
  const batches = [batchOf(1, mixedEvents("a", 20).reverse()), batchOf(2, mixedEvents("b", 20))];
  const rows = Array.from(rowPieces(1, batches, 7), (piece) => piece.rows());
  expect(rows.map((piece) => piece.length)).toEqual([7, 7, 7, 7, 7, 5]);
  const keys = rows.flat().map(([hour, stream, writer, seq, ordinal]) => {
    return [hour, stream, writer, seq, `${ordinal}`.padStart(3)].join(" ");
  });
  expect(keys).toEqual(keys.toSorted());
  expect(new Set(keys).size).toBe(40);
});

/** Only root may mount, and in most containers not even root. */
function canMount(): boolean {
  const folder = mkdtempSync(join(tmpdir(), "hourglass-mount-"));
  try {
    return mountSmallDisk(folder) && Bun.spawnSync(["umount", folder]).success;
  } finally {
    rmdirSync(folder);
  }
}

function mountSmallDisk(folder: string): boolean {
  if (Bun.which("mount") === null) return false;
  return Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder]).success;
}

describe("cold store: embedded", () => {
  let dataDir: string;
  let harness: Harness;
  let store: ColdStore;

  async function openIn(folder: string): Promise<void> {
    dataDir = folder;
    harness = sqliteHarness(folder, () => {});
    store = harness.store();
    await store.open();
  }

  beforeEach(() => {
    dataDir = mkdtempSync(join(tmpdir(), "hourglass-cold-"));
  });

  afterEach(async () => {
    await harness.end();
    rmSync(dataDir, { recursive: true, force: true });
  });

  test("another process can read while it runs", async () => {
    await openIn(dataDir);
    await store.flush("writer-a", [batchOf(1, mixedEvents("a", 10))]);
    const script = `
      const { Database } = require("bun:sqlite");
      const database = new Database(process.argv[1], { readonly: true });
      console.log(database.query("SELECT COUNT(*) AS n FROM events").get().n)`;
    const reader = Bun.spawn([process.execPath, "-e", script, join(dataDir, "cold.sqlite")]);
    expect((await reader.stdout.text()).trim()).toBe("10");
  });

  test("a flush waits for another process' lock without holding up the event loop", async () => {
    await openIn(dataDir);
    const other = new Database(join(dataDir, "cold.sqlite"));
    other.run("BEGIN IMMEDIATE");
    const flushing = store.flush("writer-a", [batchOf(1, mixedEvents("a", 10))]);
    // Reads are answered meanwhile: it is this process that would stand still otherwise.
    expect(await store.newestHour()).toBeUndefined();
    other.run("COMMIT");
    other.close();
    expect(await flushing).toBe(10);
  });

  test("a watermark requested during a flush is the one after it; reads do not see half of it", async () => {
    await openIn(dataDir);
    const flushing = store.flush("writer-a", [batchOf(5, mixedEvents("a", 5_000))]);
    const watermark = store.watermark("writer-a");
    // All hours of the flush, read without a pause: some of them without the others would be half of it.
    const hours = [0, 1, 2].map((i) => ({ stream: STREAM, hour: NOON + i * HOUR_MS }));
    const seen = new Set<string>();
    let isFlushing = true;
    void flushing.finally(() => {
      isFlushing = false;
    });
    while (isFlushing) {
      const read = await Promise.all(hours.map((key) => store.read(key)));
      seen.add(read.map((hour) => (hour === undefined ? 0 : hour.clicks + hour.impressions)).join());
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    expect(await flushing).toBe(5_000);
    expect(await watermark).toBe(5);
    seen.delete("834,833,833");
    expect([...seen]).toEqual(["0,0,0"]);
  });

  test("a flush into a file that was deleted is refused", async () => {
    await openIn(dataDir);
    await store.flush("writer-a", [batchOf(1, mixedEvents("a", 30))]);
    rmSync(join(dataDir, "cold.sqlite"));
    const error = await rejectionOf(store.flush("writer-a", [batchOf(2, mixedEvents("b", 30))]));
    expect(error.message).toContain("was deleted or replaced while it was in use: restart the service");
  });

  test("the log stays small however much is flushed and read", async () => {
    await openIn(dataDir);
    for (let seq = 1; seq <= 100; seq++) {
      await store.flush("writer-a", [batchOf(seq, mixedEvents(`batch-${seq}`, 2_000))]);
      await store.read({ stream: STREAM, hour: NOON });
      await store.newestHour();
    }
    expect(statSync(join(dataDir, "cold.sqlite")).size).toBeGreaterThan(10_000_000);
    // SQLite writes it back once it has 1,000 pages, at the end of a flush.
    expect(statSync(join(dataDir, "cold.sqlite-wal")).size).toBeLessThan(6_000_000);
  });

  test("a folder that cannot be made is a clear error, and open() may be called again", async () => {
    const blocked = join(dataDir, "in-the-way");
    writeFileSync(blocked, "a file");
    harness = sqliteHarness(blocked, () => {});
    store = harness.store();
    const error = await rejectionOf(store.open());
    expect(error.message).toContain(blocked);
    expect(error.message).toContain("DATA_DIR");
    rmSync(blocked);
    await store.open();
    expect(await store.flush("writer-a", [batchOf(1, [click("u")])])).toBe(1);
  });

  test("a file that is damaged is an error that says so", async () => {
    const damaged = join(dataDir, "damaged");
    harness = sqliteHarness(damaged, () => {});
    store = harness.store();
    mkdirSync(damaged);
    writeFileSync(join(damaged, "cold.sqlite"), "this is no database".repeat(100));
    const { message } = await rejectionOf(store.open());
    expect(message).toContain("the file is damaged: restore DATA_DIR from a backup, or move the file away");
    expect(message).toContain("file is not a database");
    expect(message).not.toContain("may write to");
  });

  test("a database of another program is an error that says so", async () => {
    const foreign = join(dataDir, "foreign");
    harness = sqliteHarness(foreign, () => {});
    store = harness.store();
    mkdirSync(foreign);
    const database = new Database(join(foreign, "cold.sqlite"));
    database.run("CREATE TABLE events (name TEXT)");
    database.close();
    const { message } = await rejectionOf(store.open());
    expect(message).toContain("the file is another program's database: move it away, or set DATA_DIR");
    expect(message).toContain("table events already exists");
    expect(message).not.toContain("may write to");
  });

  test.skipIf(!canMount())("a full disk fails the flush; it works again when there is room", async () => {
    expect(mountSmallDisk(dataDir)).toBe(true);
    const ballast = join(dataDir, "ballast");
    try {
      await openIn(dataDir);
      expect(await store.flush("writer-a", [batchOf(1, mixedEvents("a", 10))])).toBe(10);
      writeFileSync(ballast, Buffer.alloc(1_500_000));
      const batches = [batchOf(2, mixedEvents("b", 10_000))];
      const error = await rejectionOf(store.flush("writer-a", batches));
      expect(error.message).toContain("full");
      expect(await store.watermark("writer-a")).toBe(1);
      expect((await store.read({ stream: STREAM, hour: NOON }))?.clicks).toBe(2);
      rmSync(ballast);
      expect(await store.flush("writer-a", batches)).toBe(10_000);
      expect(await expectConsistent(harness)).toHaveLength(10_010);
    } finally {
      await harness.end();
      Bun.spawnSync(["umount", dataDir]);
    }
  });
});

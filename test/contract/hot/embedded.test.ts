/** The embedded hot store: the contract, and faults of files and disks. */
import { Database } from "bun:sqlite";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import { cpSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { DAY_MS, HOUR_MS } from "../../../src/domain/event.ts";
import { EmbeddedHotStore } from "../../../src/store/embedded/hot-store.ts";
import type { HotStore } from "../../../src/store/hot.ts";
import { batchOf } from "../../harness/pipeline/batches.ts";
import { Tmpfs } from "../../harness/servers/tmpfs.ts";
import { hotStoreContract } from "./contract/contract.ts";
import {
  click,
  clicksOf,
  committed,
  eventsOf,
  expectCounted,
  expectJournal,
  type Harness,
  impression,
  initializeAndRegister,
  mixedEvents,
  NOON,
  NOON_KEY,
  present,
  rejectionOf,
  removeAdopted,
} from "./setup.ts";

interface EmbeddedHarness extends Harness {
  readonly dataDir: string;
  /** A store in that folder or another one, closed by end(). */
  store(dataDir?: string): HotStore;
}

function embeddedHarness(now: () => number): EmbeddedHarness {
  const dataDir = mkdtempSync(join(tmpdir(), "hourglass-hot-"));
  const stores: HotStore[] = [];
  const closeAll = () => Promise.all(stores.map((store) => store.close()));
  const storeIn = (folder = dataDir) => {
    const store = new EmbeddedHotStore({ dataDir: folder, now, monotonicMs: now });
    stores.push(store);
    return store;
  };
  const open = async () => {
    const store = storeIn();
    expect(await store.open()).toEqual([]);
    return store;
  };
  return {
    dataDir,
    store: storeIn,
    open,
    async uninitialize() {
      await closeAll();
      return open();
    },
    async end() {
      await closeAll();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

hotStoreContract("embedded", async () => embeddedHarness(() => NOON));

describe("hot store: embedded", () => {
  let now: number;
  let harness: EmbeddedHarness;
  let store: HotStore;
  let folders: string[];

  beforeEach(async () => {
    now = NOON;
    folders = [];
    harness = embeddedHarness(() => now);
    store = await harness.open();
  });

  afterEach(async () => {
    await harness.end();
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  });

  function newFolder(): string {
    const folder = mkdtempSync(join(tmpdir(), "hourglass-hot-"));
    folders.push(folder);
    return folder;
  }

  test("an id counts again once it has expired, not a millisecond before", async () => {
    await initializeAndRegister(store, "w1");
    const event = click("u", "id-1");
    expect(await store.commit("w1", 1, batchOf([event]))).toEqual(committed());
    now += DAY_MS - 1;
    expect(await store.commit("w1", 2, batchOf([event]))).toEqual(committed(0));
    now += 1;
    expect(await store.commit("w1", 3, batchOf([event, event]))).toEqual(committed(1));
    now += DAY_MS - 1;
    expect(await store.commit("w1", 4, batchOf([event]))).toEqual(committed(0));
    await expectCounted(store, [event, event]);
  });

  test("ids that have expired are deleted as others come", async () => {
    await initializeAndRegister(store, "w1");
    const events = (name: string, count: number) =>
      clicksOf(name, count).map((event) => ({ ...event, id: event.user }));
    await store.commit("w1", 1, batchOf(events("old", 500)));
    now += DAY_MS;
    for (let seq = 2; seq <= 6; seq++) await store.commit("w1", seq, batchOf(events(`new-${seq}`, 1)));
    // Remembered or not, they may be repeated: so they are looked up in the file.
    await store.close();
    expect(rowCount("ids")).toBe(5);
  });

  function rowCount(table: string): number {
    const sqlite = new Database(join(harness.dataDir, "journal.sqlite"), { readonly: true });
    try {
      return sqlite.query<{ n: number }, []>(`SELECT COUNT(*) AS n FROM ${table}`).get()!.n;
    } finally {
      sqlite.close();
    }
  }

  test("a second store on the folder is refused until the first is closed", async () => {
    await initializeAndRegister(store, "w1");
    const second = harness.store();
    const error = await rejectionOf(second.open());
    expect(error.message).toContain(join(harness.dataDir, "journal.sqlite"));
    expect(error.message).toContain("another Hourglass is running on this folder");
    expect(error.mayHaveApplied).toBe(false);
    expect(second.isReady).toBe(false);
    expect(await store.commit("w1", 1, batchOf([click("u")]))).toEqual(committed());
    await store.close();
    expect(await second.open()).toEqual([]);
    await expectJournal(second, "w1", { 1: [click("u")] });
  });

  test("another process on the folder is refused", async () => {
    const module = join(import.meta.dir, "../../../src/store/embedded/hot-store.ts");
    const code = `
      const { EmbeddedHotStore } = await import(process.argv[1]);
      const store = new EmbeddedHotStore({ dataDir: process.argv[2], now: Date.now });
      console.log(await store.open().then(() => "opened", (error) => error.name + ": " + error.message));`;
    const process2 = Bun.spawn([process.execPath, "-e", code, module, harness.dataDir]);
    const said = await process2.stdout.text();
    expect(said).toContain("HotUnavailableError");
    expect(said).toContain("another Hourglass is running on this folder: stop it, or set DATA_DIR");
    await initializeAndRegister(store, "w1");
    expect(await store.commit("w1", 1, batchOf([click("u")]))).toEqual(committed());
  });

  test("what is acknowledged is in the files by then", async () => {
    await initializeAndRegister(store, "w1");
    const [first, second] = [mixedEvents("a", 50), [click("b", "id-1"), click("c", "id-1"), click("d", "id-2")]];
    const ordered = eventsOf(batchOf(first)).map(({ register: _, ...event }) => event);
    await store.commit("w1", 1, batchOf(first));
    await store.commit("w1", 2, batchOf([click("trimmed")]));
    await store.commit("w1", 3, batchOf(second));
    // The files of a process that lives: what kill -9 would leave.
    const copy = newFolder();
    cpSync(harness.dataDir, copy, { recursive: true });
    const found = harness.store(copy);
    expect(await found.open()).toEqual([]);
    expect(await found.initialization()).toBeUndefined();
    expect(await found.journalOwners()).toEqual([{ writer: "w1", adoptable: true, acceptedEvents: 53 }]);
    await expectJournal(found, "w1", { 1: ordered, 2: [click("trimmed")], 3: [second[0]!, second[2]!] });
    await found.trimJournal("w1", 3);
    await removeAdopted(found, "w1", 3);
    await initializeAndRegister(found, "w2");
    expect(await found.commit("w2", 1, batchOf(second))).toEqual(committed(0, 1, 2));
  });

  test("a store that was closed and opened again has its journal, and no hours", async () => {
    await initializeAndRegister(store, "w1");
    await store.commit("w1", 1, batchOf([click("a")]));
    await store.commit("w1", 2, batchOf([click("b")]));
    await store.trimJournal("w1", 1);
    await store.close();
    const again = await harness.open();
    await expectJournal(again, "w1", { 2: [click("b")] });
    expect(await again.read([NOON_KEY])).toBe("uninitialized");
  });

  test("a folder that cannot be made is a clear error, and open() may be called again", async () => {
    const blocked = join(newFolder(), "in-the-way");
    writeFileSync(blocked, "a file");
    const other = harness.store(blocked);
    const error = await rejectionOf(other.open());
    expect(error.message).toContain(blocked);
    expect(error.message).toContain("DATA_DIR must be a folder that this process may write to");
    rmSync(blocked);
    expect(await other.open()).toEqual([]);
    await initializeAndRegister(other, "w1");
  });

  test("a journal that is damaged is an error that says so", async () => {
    const dataDir = newFolder();
    writeFileSync(join(dataDir, "journal.sqlite"), "this is no database".repeat(100));
    const { message } = await rejectionOf(harness.store(dataDir).open());
    expect(message).toContain(`Cannot open the journal ${join(dataDir, "journal.sqlite")}: file is not a database`);
    expect(message).toContain("the file is damaged: restore DATA_DIR from a backup, or move the file away");
    expect(message).not.toContain("may write to");
  });

  describe("a disk that fails", () => {
    const FAILED = new Error("EIO: i/o error, fdatasync");
    let outcomes: (Error | undefined)[];
    let failing: HotStore;

    beforeEach(async () => {
      outcomes = [];
      await store.close();
      const syncFile = async () => {
        const outcome = outcomes.shift();
        if (outcome !== undefined) throw outcome;
      };
      failing = new EmbeddedHotStore({ dataDir: harness.dataDir, now: () => now, syncFile });
      await failing.open();
      await initializeAndRegister(failing, "w1");
    });

    afterEach(() => failing.close());

    test("refuses what it may not hold, and counts it once when it is sent again", async () => {
      const events = [click("u", "id-1"), click("v", "id-1"), impression("w")];
      outcomes = [FAILED];
      const error = await rejectionOf(failing.commit("w1", 1, batchOf(events)));
      expect(error.message).toContain("EIO");
      expect(error.mayHaveApplied).toBe(true);
      expect(await failing.read([NOON_KEY])).toEqual([present(0, 0, 0)]);
      expect(await failing.commit("w1", 1, batchOf(events))).toEqual(committed(1));
      expect(await failing.commit("w1", 2, batchOf([click("x", "id-1")]))).toEqual(committed(0));
      await expectCounted(failing, [events[0]!, events[2]!]);
      await expectJournal(failing, "w1", { 1: [events[0]!, events[2]!], 2: [] });
    });

    test("writes the log back into the file before it is trusted again", async () => {
      outcomes = [FAILED];
      await rejectionOf(failing.commit("w1", 1, batchOf([click("u")])));
      expect(await failing.commit("w1", 1, batchOf([click("u")]))).toEqual(committed());
      // All of it is in the file itself: the log, which may lack something on disk, is empty.
      expect(statSync(join(harness.dataDir, "journal.sqlite-wal")).size).toBe(0);
      expect(await failing.commit("w1", 2, batchOf([click("v")]))).toEqual(committed());
      expect(outcomes).toEqual([]);
    });

    test("a writer that is given up leaves it to its adopter", async () => {
      outcomes = [FAILED];
      await rejectionOf(failing.commit("w1", 1, batchOf([click("u")])));
      expect(await failing.abandon("w1")).toMatchObject({ lastSeq: 1 });
      await expectJournal(failing, "w1", { 1: [click("u")] });
    });

    test("an hour that waits for it is not retired meanwhile", async () => {
      const held = Promise.withResolvers<void>();
      await failing.close();
      const syncFile = () => held.promise;
      failing = new EmbeddedHotStore({ dataDir: harness.dataDir, now: () => now, syncFile });
      await failing.open();
      await removeAdopted(failing, "w1", 0);
      await initializeAndRegister(failing, "w2");
      const committing = failing.commit("w2", 1, batchOf([click("u")]));
      expect(await failing.retire(NOON + HOUR_MS)).toBe(0);
      held.resolve();
      expect(await committing).toEqual(committed());
      await expectCounted(failing, [click("u")]);
    });
  });

  test("renewing a lease writes nothing", async () => {
    await initializeAndRegister(store, "w1");
    await store.commit("w1", 1, batchOf([click("u")]));
    const written = () => readFileSync(join(harness.dataDir, "journal.sqlite-wal"));
    const before = written();
    expect(await store.renewLease("w1", 1)).toBe("held");
    expect(written().equals(before)).toBe(true);
  });

  const disk = Tmpfs.mount(2);
  afterAll(async () => {
    if (typeof disk !== "string") await disk.close();
  });

  test.skipIf(typeof disk === "string")("a full disk refuses the lease too, until what was refused fits", async () => {
    const small = disk as Tmpfs;
    const full = harness.store(small.path);
    await full.open();
    await initializeAndRegister(full, "w1");
    const large = batchOf(Array.from({ length: 100 }, (_, i) => click("u".repeat(200), `id-${i}`)));
    let last = 0;
    const commitUntilFull = async () => {
      for (; ; last++) await full.commit("w1", last + 1, large);
    };
    small.fill();
    expect((await rejectionOf(commitUntilFull())).message).toContain("disk is full");
    for (let i = 0; i < 3; i++) {
      const error = await rejectionOf(full.renewLease("w1", last));
      expect(error.message).toContain("could not do 'write a trial'");
      expect(error.mayHaveApplied).toBe(false);
    }
    small.free();
    expect(await full.renewLease("w1", last)).toBe("held");
    expect((await full.commit("w1", last + 1, large)).status).toBe("committed");
    await full.close();
    const sqlite = new Database(join(small.path, "journal.sqlite"), { readonly: true });
    expect(sqlite.query("SELECT COUNT(*) AS n FROM ids WHERE stream = ''").get()).toEqual({ n: 0 });
    sqlite.close();
  });

  test.skipIf(typeof disk === "string")("a batch that never fits does not refuse the lease for good", async () => {
    const sizeMb = 4;
    const small = Tmpfs.mount(sizeMb) as Tmpfs;
    try {
      const full = harness.store(small.path);
      await full.open();
      await initializeAndRegister(full, "w1");
      const userChars = (1.2 * sizeMb * 1_048_576) / 10_000;
      const tooLarge = batchOf(Array.from({ length: 10_000 }, (_, i) => click("u".repeat(userChars), `id-${i}`)));
      expect((await rejectionOf(full.commit("w1", 1, tooLarge))).message).toContain("disk is full");
      expect(await full.renewLease("w1", 0)).toBe("held");
      expect((await full.commit("w1", 1, batchOf([click("u", "small")]))).status).toBe("committed");
      await full.close();
    } finally {
      await small.close();
    }
  });

  test("a journal that an earlier build wrote is refused, and left as it is", async () => {
    const path = join(newFolder(), "journal.sqlite");
    const before = new Database(path, { create: true, strict: true });
    before.run("CREATE TABLE writers (writer TEXT PRIMARY KEY, accepted INTEGER NOT NULL)");
    before.run("INSERT INTO writers VALUES ('w1', 12)");
    before.close();
    await expect(harness.store(dirname(path)).open()).rejects.toThrow("table writers already exists");
    const after = new Database(path, { readonly: true, strict: true });
    expect(after.query("SELECT * FROM writers").all()).toEqual([{ writer: "w1", accepted: 12 }]);
    after.close();
  });

  test("journals of several writers are separate", async () => {
    await initializeAndRegister(store, "w1");
    await store.commit("w1", 1, batchOf([click("a")]));
    await store.commit("w1", 2, batchOf([click("b")]));
    await store.abandon("w1");
    await initializeAndRegister(store, "w2");
    await store.commit("w2", 1, batchOf([click("c")]));
    await store.trimJournal("w1", 1);
    await expectJournal(store, "w1", { 2: [click("b")] });
    await expectJournal(store, "w2", { 1: [click("c")] });
    await store.trimJournal("w2", 1);
    const owners = await store.journalOwners();
    expect(owners.map(({ writer, acceptedEvents }) => [writer, acceptedEvents])).toEqual([
      ["w1", 2],
      ["w2", 1],
    ]);
    await removeAdopted(store, "w1", 2);
    await store.commit("w2", 2, batchOf([click("d")]));
    await expectJournal(store, "w2", { 2: [click("d")] });
  });

  test("the journal's files stay small however much goes through them", async () => {
    await initializeAndRegister(store, "w1");
    for (let seq = 1; seq <= 60; seq++) {
      await store.commit("w1", seq, batchOf(clicksOf("a", 2_000)));
      await store.trimJournal("w1", seq);
    }
    // 60 batches of some 40 KB each: written once into the log, and then over again.
    const sizes = ["journal.sqlite", "journal.sqlite-wal"].map((file) => {
      return statSync(join(harness.dataDir, file)).size;
    });
    expect(sizes[0]! + sizes[1]!).toBeLessThan(5_000_000);
  });
});

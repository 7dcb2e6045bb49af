/**
 * `hourglass import` and `hourglass export` beside a running service: however an import ends or is interrupted, run
 * again it counts every event once; and an export can be imported again.
 */
import { Database } from "bun:sqlite";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { DAY_MS, HOUR_MS } from "../../src/domain/event.ts";
import { Random, seedFor } from "../harness/pipeline/random.ts";
import { describeWithServers } from "../harness/servers/servers.ts";
import { startProxy } from "../harness/servers/tcp-proxy.ts";
import { type CommandResult, runCommand, startCommand } from "../harness/service/command.ts";
import { MODES, type Service, type Site, startService } from "../harness/service/service.ts";
import { expectHoursToBeReplay, type StoredEvent, sqliteView } from "../harness/service/stored.ts";
import { waitFor } from "../harness/service/wait-for.ts";
import { longGroup } from "../harness/tiers.ts";

const LOG = gunzipSync(readFileSync(join(import.meta.dir, "..", "data", "access.log.gz")));
const LOG_EVENTS = 10_000;
const DRAIN = { timeoutMs: 60_000, intervalMs: 200 };
const NOON = Date.UTC(2026, 0, 31, 12);
const LINE_END = 10;
/** How much more memory a log four times as long may need. */
const MORE_MAX_MB = 40;

interface Summary {
  readonly lines: number;
  readonly accepted: number;
  readonly duplicates: number;
  readonly bad: number;
  readonly skipped: number;
  readonly error?: string;
  readonly files: readonly { readonly status: string; readonly fromLine: number }[];
}

function summaryOf({ output }: CommandResult): Summary {
  return JSON.parse(output);
}

/** Clicks and impressions by hour. */
function truth(times = 1): Map<number, readonly [number, number]> {
  const text = readFileSync(join(import.meta.dir, "..", "data", "access.truth.csv"), "utf8");
  const rows = text.trim().split(/\r?\n/).slice(1);
  const numbers = rows.map((line) => line.split(",").map(Number) as [number, number, number, number]);
  return new Map(numbers.map(([hour, , clicks, impressions]) => [hour, [clicks * times, impressions * times]]));
}

for (const { name, needs, open } of MODES) {
  const group = `hourglass import, ${name}`;
  // It asks a service, whose stores are the same to it.
  describeWithServers(name === "embedded" ? longGroup(group) : group, needs, () => {
    let site: Site;
    let service: Service;
    let folder: string;
    let streams = 0;
    let stream: string;

    beforeAll(async () => {
      site = await open();
      service = await site.start();
    });
    afterAll(() => site.close());
    beforeEach(() => {
      folder = mkdtempSync(join(tmpdir(), "hourglass-import-"));
      stream = `stream-${++streams}`;
    });
    afterEach(() => rmSync(folder, { recursive: true, force: true }));

    /** Where nothing is remembered of another test. */
    const settings = () => ({ PORT: String(service.port), DATA_DIR: folder });
    const args = (...more: string[]) => ["import", "--stream", stream, "--json", ...more];

    async function importNow(...more: string[]): Promise<Summary & { exitCode: number }> {
      const result = await runCommand(settings(), ...args(...more));
      return { ...summaryOf(result), exitCode: result.exitCode };
    }

    async function rows(count: number): Promise<StoredEvent[]> {
      await waitFor(`${count} rows`, async () => (await site.cold.countEvents(stream)) >= count, DRAIN);
      return await site.cold.events(stream);
    }

    /** Each event of the log, `times` times, is one row and one count. */
    async function expectLogOnce(times = 1): Promise<void> {
      const stored = await rows(LOG_EVENTS * times);
      expect(stored).toHaveLength(LOG_EVENTS * times);
      expect(new Set(stored.map(({ id }) => id)).size).toBe(LOG_EVENTS * times);
      const hours = await site.cold.hours(stream);
      expectHoursToBeReplay(hours, stored);
      const counts = hours.map(({ hour, clicks, impressions }) => [hour, [clicks, impressions]] as const);
      expect(new Map(counts)).toEqual(truth(times));
    }

    test("the real log twice counts once: the same file, packed and not, and standard input", async () => {
      const [packed, plain] = [join(folder, "a.dat"), join(folder, "b.dat")];
      writeFileSync(packed, gzipSync(LOG));
      writeFileSync(plain, LOG);
      const first = await importNow(packed);
      expect(first).toMatchObject({
        exitCode: 0,
        lines: LOG_EVENTS,
        accepted: LOG_EVENTS,
        duplicates: 0,
        bad: 0,
      });
      await expectLogOnce();
      const again = await importNow(packed, plain);
      expect(again.files.map(({ status }) => status)).toEqual(["known", "known"]);
      expect(again).toMatchObject({ exitCode: 0, lines: 0, accepted: 0 });
      const forgetful = await importNow("--state", join(folder, "other.sqlite"), plain);
      expect(forgetful).toMatchObject({ exitCode: 0, accepted: 0, duplicates: LOG_EVENTS });
      for (const stdin of [LOG, gzipSync(LOG)]) {
        const piped = await startCommand(settings(), args("-"), { stdin }).result;
        expect(summaryOf(piped)).toMatchObject({ accepted: 0, duplicates: LOG_EVENTS });
      }
      await expectLogOnce();
    });

    test("kill -9 of the import at random instants, and run again: each event once", async () => {
      const random = new Random(seedFor(`hourglass import, ${name}`));
      const file = join(folder, "big.log");
      const times = 5;
      writeFileSync(file, Buffer.concat(Array(times).fill(LOG)));
      let kills = 0;
      let accepted = 0;
      // The later it is killed the further it comes: to its end at last.
      for (let latestMs = 300; ; latestMs *= 1.2) {
        const run = startCommand(settings(), args(file));
        const timer = setTimeout(() => run.kill("SIGKILL"), random.fraction() * latestMs);
        const result = await run.result;
        clearTimeout(timer);
        if (result.exitCode === 0) {
          accepted = summaryOf(result).accepted;
          break;
        }
        kills += 1;
      }
      console.log(`hourglass import, ${name}: killed ${kills} times, ${accepted} events left for the last run`);
      await expectLogOnce(times);
      expect((await importNow(file)).files[0]!.status).toBe("known");
    });

    test("the service killed and started again during an import: each event once", async () => {
      const file = join(folder, "big.log");
      const times = 4;
      writeFileSync(file, Buffer.concat(Array(times).fill(LOG)));
      const run = startCommand(settings(), args(file));
      let isOver = false;
      const result = run.result.finally(() => {
        isOver = true;
      });
      const state = join(folder, "import.sqlite");
      let restarts = 0;
      for (let round = 1; round <= 2 && !isOver; round++) {
        const countedBytes = LOG.length * (times / 3) * round;
        await waitFor("some of it to be counted", () => isOver || countedIn(state) >= countedBytes, {
          timeoutMs: 60_000,
          intervalMs: 10,
        });
        if (isOver) break;
        await service.restart("SIGKILL");
        restarts += 1;
      }
      const { exitCode, output, errors } = await result;
      console.log(`hourglass import, ${name}: ${restarts} restarts of the service; ${errors}`);
      expect(exitCode).toBe(0);
      expect(restarts).toBeGreaterThan(0);
      const { accepted, duplicates } = summaryOf({ exitCode, output, errors });
      expect(accepted + duplicates).toBe(LOG_EVENTS * times);
      await expectLogOnce(times);
    });

    test("answers that are lost: sent again, each event once", async () => {
      const file = join(folder, "a.log");
      writeFileSync(file, LOG);
      const proxy = await startProxy(service.port);
      let answers = 0;
      proxy.onDownstream = (_, connection) => {
        answers += 1;
        if (answers % 2 === 0) return true;
        connection.cut();
        return false;
      };
      try {
        const { exitCode, accepted, duplicates } = await importNow("--url", `http://127.0.0.1:${proxy.port}/`, file);
        expect({ exitCode, events: accepted + duplicates }).toEqual({ exitCode: 0, events: LOG_EVENTS });
        expect(duplicates).toBeGreaterThan(0);
      } finally {
        await proxy.close();
      }
      await expectLogOnce();
    });

    test("an export of it, imported into another stream, and another service, gives the same counts", async () => {
      const file = join(folder, "a.log");
      writeFileSync(file, LOG);
      await importNow(file);
      await rows(LOG_EVENTS);
      await using fresh = await freshService();
      for (const format of ["csv", "ndjson"] as const) {
        const out = join(folder, `out.${format}`);
        const exported = await runCommand(
          { ...site.commandSettings(service) },
          ...["export", "--stream", stream, "--format", format, "--out", out],
        );
        expect(exported).toMatchObject({ exitCode: 0, output: "" });
        expect(readdirSync(folder).filter((name) => name.endsWith(".part"))).toEqual([]);
        const target = ["--url", fresh.service.url, "--state", join(folder, `${format}.sqlite`)];
        const imported = await importNow(...target, out);
        // The second time the same events come under the same ids.
        const counts = format === "csv" ? { accepted: LOG_EVENTS } : { duplicates: LOG_EVENTS };
        expect(imported).toMatchObject({ exitCode: 0, bad: 0, ...counts });
      }
      await waitFor("the rows", async () => (await fresh.cold.countEvents()) === LOG_EVENTS, DRAIN);
      const byId = (some: readonly StoredEvent[]) => some.toSorted((a, b) => a.id!.localeCompare(b.id!));
      expect(byId(await fresh.cold.events())).toEqual(byId(await rows(LOG_EVENTS)));
      expect(await fresh.cold.hours()).toEqual(await site.cold.hours(stream));
    });
  });
}

/** 0 as long as there is nothing. A copy of what is locked: it may be half of it, as it is being written. */
function countedIn(state: string): number {
  const copy = `${state}.copy`;
  try {
    for (const end of ["", "-wal"]) writeFileSync(`${copy}${end}`, readFileSync(`${state}${end}`));
    const database = new Database(copy, { strict: true });
    try {
      const query = database.query<{ counted: number | null }, []>("SELECT MAX(counted_bytes) AS counted FROM imports");
      return query.get()?.counted ?? 0;
    } finally {
      database.close();
    }
  } catch {
    return 0;
  }
}

async function freshService() {
  const service = await startService();
  return {
    service,
    cold: sqliteView(() => join(service.dataDir, "cold.sqlite")),
    [Symbol.asyncDispose]: () => service.stop(),
  };
}

describe("hourglass import", () => {
  let service: Service;
  let folder: string;
  let streams = 0;
  let stream: string;

  beforeAll(async () => {
    service = await startService();
  });
  afterAll(() => service.stop());
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "hourglass-import-"));
    stream = `stream-${++streams}`;
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const settings = () => ({ PORT: String(service.port), DATA_DIR: folder });

  async function run(...more: string[]) {
    const result = await runCommand(settings(), "import", "--stream", stream, "--json", ...more);
    return { ...result, summary: summaryOf(result) };
  }

  function file(name: string, content: string | Uint8Array): string {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  }

  async function stored(count: number) {
    const cold = sqliteView(() => join(service.dataDir, "cold.sqlite"));
    await waitFor(`${count} rows`, async () => (await cold.countEvents(stream)) >= count, DRAIN);
    return (await cold.events(stream)).map(({ at, user, kind, id }) => ({ at, user, kind, id }));
  }

  const csvOf = (count: number, from = 0) =>
    Array.from({ length: count }, (_, i) => `${NOON + from + i},user-${from + i},click\n`).join("");
  const CSV_HEADER = "timestamp,user,event\n";

  test("accepts CSV, with columns in any order, and anything in quotes", async () => {
    const path = file(
      "a.csv",
      '\uFEFFuser,id,event,stream,timestamp\r\n"a,""b""\nc",7,click,,2026-01-31T12:00:00Z\r\n\r\n' +
        `d,,impression,${stream},${NOON}`,
    );
    const { exitCode, summary } = await run(path);
    expect({ exitCode, ...summary }).toMatchObject({ exitCode: 0, accepted: 2, bad: 0 });
    expect(await stored(2)).toEqual([
      { at: NOON, user: 'a,"b"\nc', kind: "click", id: "7" },
      { at: NOON, user: "d", kind: "impression", id: expect.stringMatching(/^[0-9a-f]{11}[\w-]{16}$/) },
    ]);
  });

  test("accepts NDJSON, and a log's lines as one kind", async () => {
    const lines = [
      { timestamp: NOON, user: "ann", event: "click", id: "7" },
      { timestamp: "2026-01-31T12:00:00.001Z", user: "bob", event: "impression" },
    ];
    await run(file("a.ndjson", lines.map((line) => JSON.stringify(line)).join("\r\n\n")));
    await run("--kind", "click", file("a.log", '::1 - - [31/Jan/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 -\n'));
    const users = (await stored(3)).map(({ user, kind }) => [user, kind]);
    expect(users).toEqual([
      ["::1", "click"],
      ["ann", "click"],
      ["bob", "impression"],
    ]);
  });

  test("says which lines are bad, imports the others, and ends with 1", async () => {
    const path = file("a.csv", `${CSV_HEADER}${NOON},ann,click\n${NOON},bob,tap\nnoon,eve,click\n`);
    const { exitCode, summary, errors } = await run(path);
    expect({ exitCode, ...summary }).toMatchObject({ exitCode: 1, lines: 4, accepted: 1, bad: 2 });
    expect(errors).toContain(`${path}:3: event: got "tap"`);
    expect(errors).toContain(`${path}:4: timestamp: got "noon"`);
    // It was imported as far as it can be.
    expect((await run(path)).summary.files[0]!.status).toBe("known");
  });

  test("with --strict stops at the first bad line, and resumes there when it is fixed", async () => {
    const path = file("a.csv", `${CSV_HEADER}${csvOf(3)}bad\n${csvOf(2, 4)}`);
    const stopped = await run("--strict", path);
    expect(stopped.exitCode).toBe(1);
    expect(stopped.summary).toMatchObject({ accepted: 3, bad: 1, files: [{ status: "stopped" }] });
    writeFileSync(path, `${CSV_HEADER}${csvOf(6)}`);
    const mended = await run("--strict", path);
    expect(mended.exitCode).toBe(0);
    expect(mended.summary).toMatchObject({ accepted: 3, duplicates: 0, files: [{ fromLine: 5 }] });
    expect(await stored(6)).toHaveLength(6);
  });

  test("with --strict says only that it stopped, and nothing of the last line, which it did not reach", async () => {
    const path = file("a.csv", `${CSV_HEADER}${csvOf(2)}bad\n${csvOf(1, 4)}`);
    const { output } = await runCommand(settings(), "import", "--stream", stream, "--strict", path);
    expect(output).toContain(`${path}: 4 lines: 2 accepted, 0 duplicates, 1 bad; stopped at a bad line\n`);
  });

  test("resumes a file that has grown, under any name, and refuses one that was changed", async () => {
    const path = file("a.csv", `${CSV_HEADER}${csvOf(1_000)}`);
    expect((await run(path)).summary.accepted).toBe(1_000);
    appendFileSync(path, csvOf(500, 1_000));
    const packed = file("a.csv.1.gz", gzipSync(readFileSync(path)));
    expect((await run(packed)).summary).toMatchObject({ accepted: 500, files: [{ fromLine: 1_002 }] });
    expect((await run(path)).summary.files[0]!.status).toBe("known");
    for (const changed of [csvOf(1_000), csvOf(1_500).replace("user-1200", "user-abcd")]) {
      writeFileSync(path, `${CSV_HEADER}${changed}`);
      const { exitCode, summary } = await run(path);
      expect(exitCode).toBe(2);
      expect(summary.error).toContain("changed");
    }
    expect(await stored(1_500)).toHaveLength(1_500);
  });

  const logOf = (from: number, count: number) =>
    Array.from({ length: count }, (_, i) => {
      const at = new Date(NOON + (from + i) * 1_000).toISOString().slice(11, 19);
      return `203.0.113.${i % 250} - - [31/Jan/2026:${at} +0000] "GET /${from + i} HTTP/1.1" 200 17 "-" "agent"\n`;
    });

  const CHANGES: Readonly<Record<string, (lines: string[]) => string>> = {
    "a line": (lines) => lines.with(4, lines[4]!.replace("GET", "DELETE")).join(""),
    "the first line": (lines) => lines.with(0, lines[0]!.replace("GET", "PUT")).join(""),
    "an inserted line": (lines) => lines.toSpliced(2, 0, ...logOf(9_000, 1)).join(""),
    "lines that are missing": (lines) => lines.slice(100).join(""),
    "line breaks": (lines) => lines.join("").replaceAll("\n", "\r\n"),
  };
  for (const [what, change] of Object.entries(CHANGES)) {
    test(`refuses a file that was changed near its beginning: ${what}`, async () => {
      const lines = logOf(0, 2_000);
      const path = file("f.log", lines.join(""));
      expect((await run(path)).summary.accepted).toBe(2_000);
      file("f.log", change(lines));
      const { exitCode, summary } = await run(path);
      expect({ exitCode, accepted: summary.accepted }).toEqual({ exitCode: 2, accepted: 0 });
      expect(summary.error).toContain("f.log was imported before, and then changed near its beginning: ");
      expect(summary.error).toContain("Import what is new from a file of its own");
    });
  }

  test("imports another file under the name of one that was imported, also with the same header", async () => {
    const log = file("f.log", logOf(0, 2_000).join(""));
    const csv = file("f.csv", `sep=,\n${CSV_HEADER}${csvOf(1)}`);
    expect((await run(log, csv)).summary.accepted).toBe(2_001);
    file("f.log", logOf(2_000, 2_000).join(""));
    file("f.csv", `sep=,\n${CSV_HEADER}${csvOf(1, 7)}`);
    expect((await run(log, csv)).summary).toMatchObject({ accepted: 2_001, duplicates: 0 });
  });

  test("two files that differ count each, line by line, though lines are equal", async () => {
    const [one, other] = [file("a.csv", `${CSV_HEADER}${csvOf(3)}`), file("b.csv", `${CSV_HEADER}${csvOf(3, 1)}`)];
    const equal = file("c.csv", `${CSV_HEADER}${csvOf(1, 7)}${csvOf(1, 7)}`);
    expect((await run(one, other, equal)).summary).toMatchObject({ accepted: 8, duplicates: 0 });
    expect(await stored(8)).toHaveLength(8);
  });

  const logsOf = (lines: Readonly<Record<string, string>>) =>
    Object.entries(lines).map(([name, text]) =>
      file(
        name,
        text.replaceAll(/\w/g, (letter) => LINES[letter]!),
      ),
    );
  const LINES: Readonly<Record<string, string>> = Object.fromEntries(
    logOf(0, 26).map((line, i) => [String.fromCharCode(97 + i), line]),
  );

  test("files that begin with the same lines and then differ count each, in one run or in two", async () => {
    const [one, other] = logsOf({ "web1.log": "aab", "web2.log": "aac" });
    expect((await run(one!, other!)).summary).toMatchObject({ accepted: 6, duplicates: 0 });
    const again = await run(other!, one!);
    expect(again).toMatchObject({ exitCode: 0, summary: { accepted: 0, duplicates: 0 } });
    const [third] = logsOf({ "web3.log": "aad" });
    expect((await run(third!)).summary).toMatchObject({ accepted: 3, duplicates: 0 });
    expect(await stored(9)).toHaveLength(9);
  });

  test("a file that begins with all of another one that is still there counts each line", async () => {
    const [one, other] = logsOf({ "web1.log": "a", "web2.log": "abc" });
    expect((await run(one!)).summary.accepted).toBe(1);
    expect((await run(other!)).summary).toMatchObject({ accepted: 3, files: [{ fromLine: 1 }] });
    appendFileSync(one!, LINES["d"]!);
    expect((await run(other!, one!)).summary).toMatchObject({ accepted: 1, duplicates: 0 });
    const long = logOf(0, 400).join("");
    const [before, after] = [file("long1.log", long), file("long2.log", long + LINES["a"])];
    expect((await run(before, after)).summary).toMatchObject({ accepted: 801, duplicates: 0 });
    expect(await stored(806)).toHaveLength(806);
  });

  test("long files that begin with the same lines and then differ count each if one run has both", async () => {
    const lines = logOf(0, 400);
    const one = file("web1.log", lines.join(""));
    const other = file("web2.log", lines.with(300, LINES["a"]!).join(""));
    expect((await run(one, other)).summary).toMatchObject({ accepted: 800, duplicates: 0 });
  });

  test("a file of the same content counts once, which is said, and ends the run that has both with 1", async () => {
    const paths = logsOf({ "web1.log": "a", "web2.log": "a" });
    const { exitCode, output } = await runCommand(settings(), "import", "--stream", stream, ...paths);
    expect(output).toContain(`${paths[1]}: is a copy of ${paths[0]}: its lines count once, and were skipped\n`);
    expect(output).toContain("1 event accepted, ");
    expect(exitCode).toBe(1);
    expect((await run(...paths)).exitCode).toBe(0);
  });

  test("what a compressed copy and its file both got since the last run counts once", async () => {
    const [path] = logsOf({ "web1.log": "a" });
    expect((await run(path!)).summary.accepted).toBe(1);
    appendFileSync(path!, LINES["b"]!);
    const packed = file("web1.log.gz", gzipSync(readFileSync(path!)));
    expect((await run(packed, path!)).summary).toMatchObject({ accepted: 1, duplicates: 0 });
    expect(await stored(2)).toHaveLength(2);
  });

  test("lines that were bad count once the options are right, and the others still once", async () => {
    const local = file("local.csv", `${CSV_HEADER}2026-01-31 12:00:00,ann,click\n${csvOf(2)}`);
    expect(await run(local)).toMatchObject({ exitCode: 1, summary: { accepted: 2, bad: 1 } });
    const again = await run(local);
    expect(again).toMatchObject({ exitCode: 1, summary: { lines: 0, files: [{ status: "known", badBefore: 1 }] } });
    const mended = await run("--tz", "Europe/Berlin", local);
    expect(mended).toMatchObject({ exitCode: 0, summary: { accepted: 1, duplicates: 2, bad: 0 } });
    expect(mended.summary.files).toMatchObject([{ isReadAgain: true, fromLine: 1 }]);
    expect(await run("--tz", "Europe/Berlin", local)).toMatchObject({ exitCode: 0, summary: { lines: 0 } });
    const other = file("other.csv", `${CSV_HEADER}${NOON},eve,click\n10000,eve,click\n`);
    expect((await run(other)).summary).toMatchObject({ accepted: 1, bad: 1 });
    // Under new ids all of it would count again.
    expect((await run("--old", "--new-ids", other)).summary).toMatchObject({ lines: 0 });
    expect((await run("--old", other)).summary).toMatchObject({ accepted: 1, duplicates: 1 });
    expect(await stored(5)).toHaveLength(5);
  });

  test("requests that a filter left out count without it", async () => {
    const path = file("f.log", logOf(0, 3).join(""));
    expect((await run("--path", "/1", path)).summary).toMatchObject({ accepted: 1 });
    expect((await run(path)).summary).toMatchObject({ accepted: 2, duplicates: 1 });
  });

  test("lines that the service refused are sent again, and count once it takes them", async () => {
    const path = file("a.csv", `${CSV_HEADER}${csvOf(3)}`);
    using strict = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: async (request) => {
        if (isTaking) return await fetch(`${service.url}/events`, request);
        const errors = [0, 1, 2].map((index) => ({ index, message: "the key may not write to this stream" }));
        const none = { accepted: 0, duplicates: 0, refused: 0, unknown: 0 };
        return Response.json({ events: 3, ...none, invalid: 3, errors }, { status: 422 });
      },
    });
    let isTaking = false;
    const url = ["--url", `http://127.0.0.1:${strict.port}`];
    expect(await run(...url, path)).toMatchObject({ exitCode: 1, summary: { accepted: 0, bad: 3 } });
    isTaking = true;
    expect(await run(...url, path)).toMatchObject({ exitCode: 0, summary: { accepted: 3, bad: 0 } });
    expect((await run(...url, path)).summary).toMatchObject({ lines: 0, files: [{ status: "known" }] });
  });

  test("lines that were bad a day ago are not read again, and the summary says what to do", async () => {
    const path = file("a.csv", `${CSV_HEADER}2026-01-31 12:00:00,ann,click\n${csvOf(2)}`);
    expect((await run(path)).summary).toMatchObject({ accepted: 2, bad: 1 });
    const state = new Database(join(folder, "import.sqlite"), { strict: true });
    state.run(`UPDATE imports SET sent_at = sent_at - ${DAY_MS}, begun_at = begun_at - ${DAY_MS}`);
    state.close();
    const zone = ["--tz", "Europe/Berlin"];
    const { exitCode, output } = await runCommand(settings(), "import", "--stream", stream, ...zone, path);
    expect(exitCode).toBe(1);
    expect(output).toContain("to its end: skipped; 1 line of it was bad; begun more than 23 h ago, so the lines");
    expect(output).toContain("import them from a file of their own\n");
    // Nothing of it was sent, so nothing can count twice.
    const none = file("none.csv", `${CSV_HEADER}2026-01-31 12:00:00,eve,click\n`);
    expect((await run(none)).summary).toMatchObject({ accepted: 0, bad: 1 });
    expect((await run(...zone, none)).summary).toMatchObject({ accepted: 1, bad: 0 });
  });

  test("sends nothing again that was sent a day ago, unless an option says so", async () => {
    const events = 6_000;
    const path = file("a.csv", `${CSV_HEADER}${csvOf(events)}`);
    const proxy = await startProxy(service.port);
    // The answer to the second piece never comes.
    proxy.onDownstream = (chunk) => !chunk.includes(`"events":${events - 4_000}`);
    const interrupted = startCommand(settings(), [
      ...["import", "--stream", stream, "--url", `http://127.0.0.1:${proxy.port}`, path],
    ]);
    await stored(events);
    await waitFor("the first piece to be counted", () => countedIn(join(folder, "import.sqlite")) > 100, DRAIN);
    interrupted.kill("SIGKILL");
    await interrupted.result;
    await proxy.close();
    const state = new Database(join(folder, "import.sqlite"), { strict: true });
    state.run(`UPDATE imports SET url = '${service.url}', sent_at = sent_at - ${DAY_MS}`);
    state.close();
    const refused = await run(path);
    expect(refused.exitCode).toBe(2);
    expect(refused.summary.error).toContain("from line 4002 on");
    // In truth it was not long ago, so that the service knows them still.
    const copy = file("copy.sqlite", readFileSync(join(folder, "import.sqlite")));
    const sent = await run("--doubtful", "send", "--state", copy, path);
    expect(sent.summary).toMatchObject({
      accepted: 0,
      duplicates: events - 4_000,
      files: [{ fromLine: 4_002 }],
    });
    const skipped = await run("--doubtful", "skip", path);
    expect(skipped.exitCode).toBe(0);
    expect(skipped.summary).toMatchObject({ accepted: 0, duplicates: 0, skipped: events - 4_000 });
    expect((await run(path)).summary.files[0]!.status).toBe("known");
    expect(await stored(events)).toHaveLength(events);
  });

  test("ends with 2 if it can't begin, having sent nothing", async () => {
    const good = file("a.csv", `${CSV_HEADER}${csvOf(1)}`);
    const cases: readonly (readonly [string[], string])[] = [
      [[good, join(folder, "none.csv")], "none.csv"],
      [[folder], "folder"],
      [["-", "-"], "more than once"],
      [[file("a.txt", "hello\n")], "--format"],
      [["--state", folder, good], "state"],
      [["--url", "http://127.0.0.1:1", "--retry-for", "0", good], "http://127.0.0.1:1/events"],
    ];
    for (const [args, says] of cases) {
      const { exitCode, summary } = await run(...args);
      expect(exitCode).toBe(2);
      expect(summary.error).toContain(says);
      expect(summary.accepted).toBe(0);
    }
    for (const usage of [
      ["--format", "xml"],
      ["--stream", "a b"],
      ["--url", "ftp://x"],
      ["--retry-for", "x"],
    ]) {
      expect((await runCommand(settings(), "import", ...usage, good)).exitCode).toBe(2);
    }
    expect((await runCommand(settings(), "import", "--help")).exitCode).toBe(0);
  });

  test("two at once do not share a state file", async () => {
    const path = file("a.csv", `${CSV_HEADER}${csvOf(1)}`);
    const holder = new Database(join(folder, "import.sqlite"), { create: true, strict: true });
    holder.run("PRAGMA locking_mode = EXCLUSIVE");
    holder.run("PRAGMA journal_mode = WAL");
    holder.run("CREATE TABLE held (held INTEGER)");
    const { exitCode, summary } = await run(path);
    holder.close();
    expect(exitCode).toBe(2);
    expect(summary.error).toContain("another import");
  });

  test("a gzip file of several parts is one; one that is cut off is imported as far as it goes", async () => {
    const parts = [gzipSync(CSV_HEADER + csvOf(5_000)), gzipSync(csvOf(5_000, 5_000))];
    const whole = file("a.gz", Buffer.concat(parts));
    const cut = file("cut.gz", Buffer.concat(parts).subarray(0, -200));
    const first = await run(cut);
    expect(first.exitCode).toBe(2);
    expect(first.summary.error).toContain("cut.gz");
    expect(first.summary.accepted).toBeGreaterThan(4_999);
    const second = await run(whole);
    expect(second.exitCode).toBe(0);
    expect(first.summary.accepted + second.summary.accepted).toBe(10_000);
    expect(await stored(10_000)).toHaveLength(10_000);
  });

  test("needs memory for some pieces alone, however large the file is", async () => {
    // It only counts lines: what is looked at is the other end.
    using server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: async (request) => {
        const events = lineEndsIn(await request.bytes()) + 1;
        return Response.json({
          events,
          accepted: events,
          duplicates: 0,
          invalid: 0,
          refused: 0,
          unknown: 0,
          errors: [],
        });
      },
    });
    let runs = 0;
    const peakMb = async (times: number) => {
      const path = file(`${times}.log`, Buffer.concat(Array(times).fill(LOG)));
      // Each begins like the first: with the same state it would be that, grown.
      const state = join(folder, `${++runs}.sqlite`);
      const url = `http://127.0.0.1:${server.port}`;
      const args = ["import", "--url", url, "--state", state, "--json", path];
      const child = startCommand(settings(), args);
      let isOver = false;
      let peakKb = 0;
      const result = child.result.finally(() => {
        isOver = true;
      });
      await waitFor(
        "its end",
        () => {
          peakKb = peakKbOf(child.pid) ?? peakKb;
          return isOver;
        },
        { timeoutMs: 120_000, intervalMs: 5 },
      );
      expect(summaryOf(await result).accepted).toBe(times * LOG_EVENTS);
      return Math.round(peakKb / 1_024);
    };
    // Both beyond where the collector lets the heap grow to: with 12 MB it has not begun to collect.
    const small = await peakMb(20);
    let large = await peakMb(80);
    // On a busy machine the collector may come late, but not each time.
    while (runs < 4 && large - small >= MORE_MAX_MB) large = Math.min(large, await peakMb(80));
    console.log(`hourglass import: ${small} MB at most for 48 MB of a log, ${large} MB for 191 MB`);
    expect(large - small).toBeLessThan(MORE_MAX_MB);
  });
});

function lineEndsIn(bytes: Uint8Array): number {
  let count = 0;
  for (let at = bytes.indexOf(LINE_END); at !== -1; at = bytes.indexOf(LINE_END, at + 1)) count += 1;
  return count;
}

/** The most memory that it had so far; undefined if it has ended. */
function peakKbOf(pid: number): number | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    const kb = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1];
    return kb === undefined ? undefined : Number(kb);
  } catch {
    return undefined;
  }
}

describe("hourglass export", () => {
  let service: Service;
  let folder: string;
  beforeAll(async () => {
    service = await startService();
    folder = mkdtempSync(join(tmpdir(), "hourglass-export-"));
    const users = ["plain", 'quo"te', "com,ma", "line\nend\r", " space ", "\u0000", "é👩‍👩‍👧‍👦"];
    const events = users.map((user, i) => ({
      timestamp: NOON + i * HOUR_MS,
      user,
      event: "click",
      id: `id-${i}`,
    }));
    const path = join(folder, "a.ndjson");
    writeFileSync(path, events.map((event) => JSON.stringify(event)).join("\n"));
    const result = await runCommand({ PORT: String(service.port), DATA_DIR: folder }, "import", path);
    expect(result.exitCode).toBe(0);
    const cold = sqliteView(() => join(service.dataDir, "cold.sqlite"));
    await waitFor("the rows", async () => (await cold.countEvents()) === users.length, DRAIN);
  });
  afterAll(async () => {
    await service.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const run = (...args: string[]) => runCommand({ DATA_DIR: service.dataDir }, "export", ...args);

  test("writes all that is stored, by the hour, quoted where it has to be", async () => {
    const { output, exitCode, errors } = await run();
    expect({ exitCode, errors }).toEqual({ exitCode: 0, errors: "7 events in 7 hours of 1 stream\n" });
    expect(output).toBe(
      `timestamp,user,event,stream,id\n${NOON},plain,click,default,id-0\n` +
        `${NOON + HOUR_MS},"quo""te",click,default,id-1\n${NOON + 2 * HOUR_MS},"com,ma",click,default,id-2\n` +
        `${NOON + 3 * HOUR_MS},"line\nend\r",click,default,id-3\n${NOON + 4 * HOUR_MS}, space ,click,default,id-4\n` +
        `${NOON + 5 * HOUR_MS},\u0000,click,default,id-5\n${NOON + 6 * HOUR_MS},é👩‍👩‍👧‍👦,click,default,id-6\n`,
    );
  });

  test("--safe puts an apostrophe before what a spreadsheet would run", async () => {
    const path = join(folder, "formulas.ndjson");
    const users = ["=1+1", "+1", "-1", "@a", "\tb", "c=1"];
    const lines = users.map((user, i) => ({
      timestamp: NOON,
      user,
      event: "click",
      stream: "-s",
      id: `=${i}`,
    }));
    writeFileSync(path, lines.map((line) => JSON.stringify(line)).join("\n"));
    await runCommand({ PORT: String(service.port), DATA_DIR: folder }, "import", path);
    const exported = async (...args: string[]) => {
      const { output } = await run("--stream", "-s", ...args);
      return output
        .split("\n")
        .slice(1, -1)
        .map((line) => line.split(",").slice(1))
        .sort();
    };
    await waitFor("the rows", async () => (await exported()).length === users.length, DRAIN);
    const safe = users.map((user, i) => [user === "c=1" ? user : `'${user}`, "click", "'-s", `'=${i}`]);
    expect(await exported("--safe")).toEqual(safe.sort());
    expect(await exported()).toEqual(users.map((user, i) => [user, "click", "-s", `=${i}`]).sort());
  });

  test("of a range has its begin and not its end", async () => {
    const ndjson = async (...args: string[]) => {
      const { output } = await run("--format", "ndjson", ...args);
      return output
        .split("\n")
        .slice(0, -1)
        .map((line) => JSON.parse(line).id);
    };
    expect(await ndjson("--from", "2026-01-31T13", "--to", "2026-01-31T15:00Z")).toEqual(["id-1", "id-2"]);
    expect(await ndjson("--from", String(NOON + 1), "--to", String(NOON + HOUR_MS + 1))).toEqual(["id-1"]);
    expect(await ndjson("--to", "2026-01-31")).toEqual([]);
    expect(await ndjson("--stream", "other")).toEqual([]);
  });

  test("ends with 2 if it can't be written, and leaves no part", async () => {
    const out = join(folder, "none", "out.csv");
    const { exitCode, errors } = await run("--out", out);
    expect(exitCode).toBe(2);
    expect(errors).toContain(out);
    expect((await run("--from", "noon")).exitCode).toBe(2);
    const reversed = await run("--from", "2026-02-01", "--to", "2026-01-01");
    expect([reversed.exitCode, reversed.output]).toEqual([2, ""]);
    expect((await run("--format", "xml")).exitCode).toBe(2);
    expect((await run("--from", "2026-02-30")).errors).toContain("a day and time that exist");
  });

  test("takes the format that the file's name says, and refuses another", async () => {
    const written = async (name: string) => {
      const out = join(folder, name);
      expect((await run("--stream", "default", "--out", out)).exitCode).toBe(0);
      return readFileSync(out, "utf8").slice(0, 10);
    };
    expect(await written("a.ndjson")).toBe('{"timestam');
    expect(await written("a.JSONL")).toBe('{"timestam');
    expect(await written("a.csv")).toBe("timestamp,");
    expect(await written("a")).toBe("timestamp,");
    const refusals = {
      "--out x.ndjson is a name for ndjson": ["--format", "csv", "--out", "x.ndjson"],
      "export does not compress": ["--out", "x.csv.gz"],
      "--out x.TSV: export separates by commas, not tabs": ["--out", "x.TSV"],
      "--safe is for csv": ["--safe", "--format", "ndjson"],
    };
    for (const [why, args] of Object.entries(refusals)) {
      const { exitCode, errors } = await run(...args);
      expect({ exitCode, errors }).toEqual({ exitCode: 2, errors: expect.stringContaining(why) });
    }
  });
});

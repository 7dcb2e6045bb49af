/** `hourglass import` of real logs: odd lines, other formats, filters, and logs that are still being written. */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "bun:test";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { startProxy } from "../harness/servers/tcp-proxy.ts";
import { type RunningCommand, runCommand, startCommand } from "../harness/service/command.ts";
import { type Service, startService } from "../harness/service/service.ts";
import { sqliteView } from "../harness/service/stored.ts";
import { waitFor } from "../harness/service/wait-for.ts";

const DRAIN = { timeoutMs: 60_000, intervalMs: 50 };
const TAIL = '"GET / HTTP/1.1" 200 1 "-" "x"\n';
const logLine = (n: number) => `203.0.113.${n % 250} - u${n} [17/May/2026:10:05:03 +0000] ${TAIL}`;
const linesFrom = (first: number, count: number) =>
  Array.from({ length: count }, (_, i) => logLine(first + i)).join("");

let service: Service;
let folder: string;
let stream: string;
let streams = 0;
const running: RunningCommand[] = [];

beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "hourglass-import-logs-"));
  stream = `stream-${++streams}`;
});
afterEach(async () => {
  for (const command of running.splice(0)) {
    command.kill("SIGKILL");
    await command.result;
  }
  rmSync(folder, { recursive: true, force: true });
});

const settings = () => ({ PORT: String(service.port), DATA_DIR: folder });
const args = (...more: string[]) => ["import", "--stream", stream, "--json", ...more];

async function importNow(...more: string[]) {
  const { exitCode, output, errors } = await runCommand(settings(), ...args(...more));
  return { exitCode, errors, ...JSON.parse(output) };
}

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

async function users(count: number): Promise<string[]> {
  const cold = sqliteView(() => join(service.dataDir, "cold.sqlite"));
  await waitFor(`${count} rows`, async () => (await cold.countEvents(stream)) >= count, DRAIN);
  return (await cold.events(stream)).map(({ user }) => user).sort();
}

test("all lines count, however odd the client and user in front of the time are", async () => {
  const fronts = [
    "203.0.113.8, 10.0.0.1 - -",
    "203.0.113.9 -  - ",
    "203.0.113.1 - John Doe",
    '203.0.113.2 - "a b"',
    "203.0.113.3 - ",
    "shop.example:443 203.0.113.4 - -",
  ];
  const text = fronts.map((front) => `${front} [17/May/2026:10:05:03 +0000] ${TAIL}`).join("");
  expect(await importNow(file("odd.log", text))).toMatchObject({ exitCode: 0, accepted: 6, bad: 0 });
  expect(await users(6)).toEqual(["1", "2", "3", "4", "8", "9"].map((n) => `203.0.113.${n}`));
});

test("an odd first line is bad, but the file is not refused", async () => {
  const path = file("a.log", `hello\n${linesFrom(1, 3)}`);
  expect(await importNow(path)).toMatchObject({ exitCode: 1, accepted: 3, bad: 1 });
});

test("an unfinished last line waits for its rest, and counts once", async () => {
  const cut =
    `203.0.113.1 - - [17/May/2026:10:05:03 +0000] "GET /a HTTP/1.1" 200 512 "-" "x"\n` +
    `203.0.113.2 - - [17/May/2026:10:05:03 +0000] "GET /b HTTP/1.1" 200 5`;
  const path = file("a.log", cut);
  const first = await importNow(path);
  expect(first).toMatchObject({
    exitCode: 0,
    accepted: 1,
    bad: 0,
    files: [{ isUnfinished: true, lines: 1 }],
  });
  expect(await importNow(path)).toMatchObject({ exitCode: 0, accepted: 0, duplicates: 0 });
  appendFileSync(path, `12 "https://r.example/" "x"\nbad\n`);
  const second = await importNow(path);
  expect(second).toMatchObject({
    exitCode: 1,
    accepted: 1,
    bad: 1,
    files: [{ fromLine: 2, isUnfinished: false }],
  });
  expect(second.errors).toContain(`${path}:3: not a line of a log`);
  expect(await users(2)).toEqual(["203.0.113.1", "203.0.113.2"]);
});

test("an unfinished overlong line waits for its rest, which is no line of its own", async () => {
  const path = file("a.log", `${logLine(1)}${"x".repeat(70_000)}`);
  expect(await importNow(path)).toMatchObject({ exitCode: 0, accepted: 1, bad: 0, files: [{ isUnfinished: true }] });
  appendFileSync(path, logLine(2) + logLine(3));
  const second = await importNow(path);
  expect(second).toMatchObject({ exitCode: 1, accepted: 1, bad: 1, files: [{ fromLine: 2, isUnfinished: false }] });
  expect(second.errors).toContain(`${path}:2: the line is longer than`);
  expect(await users(2)).toEqual(["203.0.113.1", "203.0.113.3"]);
});

const w3cLines = (first: number, count: number, more = "") =>
  Array.from({ length: count }, (_, i) => `2026-05-17 10:05:03 203.0.113.${first + i}${more}\n`).join("");
const w3cUsers = (last: number) => Array.from({ length: last }, (_, i) => `203.0.113.${i + 1}`).sort();

test("a W3C log whose fields change counts every line, also if an import resumes after the change", async () => {
  const before = "#Fields: date time c-ip\n";
  const after = "#Fields: date time c-ip sc-status\n";
  const path = file("u_ex260517.log", before + w3cLines(1, 3) + after + w3cLines(4, 2, " 200"));
  expect(await importNow(path)).toMatchObject({ exitCode: 0, accepted: 5, bad: 0 });
  appendFileSync(path, w3cLines(6, 3, " 404") + before + w3cLines(9, 2));
  const resumed = await importNow(path);
  expect(resumed).toMatchObject({ exitCode: 0, accepted: 5, duplicates: 0, bad: 0, files: [{ fromLine: 8 }] });
  appendFileSync(path, before + w3cLines(11, 1));
  expect(await importNow(path)).toMatchObject({ exitCode: 0, accepted: 1, bad: 0 });
  expect(await users(11)).toEqual(w3cUsers(11));
});

test("--last-line imports it, as does a compressed file", async () => {
  const path = file("a.log", linesFrom(1, 2).trimEnd());
  expect(await importNow("--last-line", path)).toMatchObject({
    accepted: 2,
    files: [{ isUnfinished: false }],
  });
  const packed = file("b.log.gz", Bun.gzipSync(new TextEncoder().encode(linesFrom(11, 2).trimEnd())));
  expect(await importNow(packed)).toMatchObject({ accepted: 2, files: [{ isUnfinished: false }] });
});

test("filters omit requests, and the summary says which, the days, and where to see them", async () => {
  const line = (day: number, request: string, status: number, agent: string) =>
    `203.0.113.${day} - - [${day}/May/2026:10:05:03 +0000] "${request} HTTP/1.1" ${status} 1 "-" "${agent}"\n`;
  const browser = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120 Safari/537.36";
  const path = file(
    "a.log",
    [
      line(17, "GET /", 200, browser),
      line(19, "GET /shop/a", 304, browser),
      line(20, "GET /", 200, "Googlebot/2.1 (+http://www.google.com/bot.html)"),
      line(20, "GET /a.css", 200, browser),
      line(20, "GET /", 404, browser),
      line(20, "HEAD /", 200, browser),
      line(20, "GET /health", 200, browser),
    ].join(""),
  );
  const filters = [
    ...["--skip-bots", "--skip-assets", "--status", "200,3xx", "--method", "GET,POST"],
    ...["--skip-path", "/health"],
  ];
  const found = await importNow(...filters, path);
  expect(found).toMatchObject({
    ...{ exitCode: 0, accepted: 2, bad: 0, days: ["2026-05-17", "2026-05-19"] },
    leftOut: { bots: 1, assets: 1, "other statuses": 1, "other methods": 1, "other paths": 1 },
  });
  await users(2);
  const { rows } = (await (await fetch(found.seriesUrl)).json()) as { rows: { impressions: number }[] };
  expect(rows.map(({ impressions }) => impressions)).toEqual([1, 0, 1]);
  const { output } = await runCommand(settings(), "import", "--stream", `${stream}-2`, ...filters, path);
  expect(output).toContain("left out: 1 bot, 1 asset, ");
  expect(output).toContain("2 days (UTC): 2026-05-17 to 2026-05-19\nsee them: http://127.0.0.1:");
});

test("the summary leads to the streams that the rows name, and counts one as one", async () => {
  const row = (name: string, user: string) => `2026-05-17T10:00:00Z,${user},click,${name}\n`;
  const header = "timestamp,user,event,stream\n";
  const one = await runCommand(settings(), "import", file("one.csv", `${header}${row(stream, "ann")}`));
  expect(one.output).toContain("2 lines: 1 accepted, 0 duplicates, 0 bad\n");
  expect(one.output).toContain(`/series?stream=${stream}&from=2026-05-17&to=2026-05-18&step=day\n1 event accepted, `);
  await users(1);
  const two = file("two.csv", `${header}${row(stream, "bob")}${row(`${stream}-2`, "bob")}`);
  const { accepted, streamsUrl } = await importNow(two);
  expect([accepted, streamsUrl]).toEqual([2, expect.stringContaining("/streams?from=2026-05-17&")]);
  const answer = (await (await fetch(streamsUrl)).json()) as { streams: { stream: string }[] };
  const names = answer.streams.map((each) => each.stream);
  expect(names).toEqual(expect.arrayContaining([stream, `${stream}-2`]));
});

test("the summary links to the last days, if there are too many for one answer", async () => {
  const text = ["2020-01-01", "2026-05-17"].map((day) => `${day}T10:00:00Z,ann,click,${stream}\n`).join("");
  const { seriesUrl } = await importNow(file("years.csv", `timestamp,user,event,stream\n${text}`));
  expect(seriesUrl).toEndWith(`/series?stream=${stream}&from=2025-03-28&to=2026-05-18&step=day`);
  expect((await fetch(seriesUrl)).status).toBe(200);
});

test("filters are refused for files that are no logs", async () => {
  const { exitCode, error } = await importNow("--skip-bots", "--format", "csv", file("a.csv", ""));
  expect({ exitCode, error }).toEqual({
    exitCode: 2,
    error: expect.stringContaining("filters are for logs"),
  });
  const detected = [
    file("b.csv", "timestamp,user,event\n1779012303000,ann,click\n"),
    file("b.ndjson", '{"timestamp":1779012303000,"user":"ann","event":"click"}\n'),
  ];
  for (const path of detected) {
    expect(await importNow("--status", "200", path)).toMatchObject({
      ...{ exitCode: 2, accepted: 0, error: expect.stringContaining(`${path}: filters are for logs`) },
    });
  }
});

test("CSV with semicolons, in UTF-16, and with times of a zone, is read", async () => {
  const utf16 = Buffer.from("\uFEFFtimestamp;user;event\r\n2026-05-17 12:05:03;ann;click\r\n", "utf16le");
  const path = file("a.csv", utf16);
  expect(await importNow(path)).toMatchObject({ exitCode: 1, accepted: 0, bad: 1 });
  expect(await importNow("--tz", "Europe/Berlin", "--state", join(folder, "other"), path)).toMatchObject({
    ...{ exitCode: 0, accepted: 1, bad: 0, days: ["2026-05-17"] },
  });
  const bigEndian = Buffer.from(`\uFEFFsep=\t\ntimestamp\tuser\tevent\n1779012303000\tböb\tclick`, "utf16le").swap16();
  expect(await importNow(file("b.csv", bigEndian))).toMatchObject({ exitCode: 0, accepted: 1 });
  expect(await users(2)).toEqual(["ann", "böb"]);
});

test("a custom log is read by its format string, and JSON by a map of fields", async () => {
  const own = file("own.log", "17/May/2026:10:05:03 +0000|ann|GET / HTTP/1.1\n");
  expect(await importNow("--log-format", "$time_local|$remote_addr|$request", own)).toMatchObject({
    ...{ exitCode: 0, accepted: 1 },
  });
  const json = file("own.json", `${JSON.stringify({ at: 1779012303, who: { ip: "bob" } })}\n`);
  expect(await importNow("--format", "json", "--fields", "time=at,user=who.ip", json)).toMatchObject({
    ...{ exitCode: 0, accepted: 1 },
  });
  expect(await users(2)).toEqual(["ann", "bob"]);
  for (const wrong of [
    ["--log-format", "$request"],
    ["--fields", "when=at"],
    ["--tz", "Mars"],
    ["--status", "2x"],
  ])
    expect((await runCommand(settings(), ...args(...wrong, own))).exitCode).toBe(2);
});

function follow(path: string, ...more: string[]): RunningCommand {
  const command = startCommand(settings(), args("--follow", path, ...more));
  running.push(command);
  return command;
}

/** Checks that each line that was ever written counts once. */
async function expectOnce(count: number): Promise<void> {
  const expected = Array.from({ length: count }, (_, n) => `203.0.113.${n % 250}`).sort();
  await waitFor(
    `${count} rows`,
    async () => {
      const { length } = await users(0);
      if (length < count) throw new Error(`${length} rows`);
      return true;
    },
    DRAIN,
  );
  expect(await users(count)).toEqual(expected);
}

test("--follow imports what is appended, across rotation by rename, and ends with its figures", async () => {
  const path = file("access.log", linesFrom(0, 10));
  const command = follow(path);
  await expectOnce(10);
  appendFileSync(path, linesFrom(10, 5).slice(0, -20));
  await expectOnce(14);
  appendFileSync(path, TAIL.slice(-20));
  await expectOnce(15);
  renameSync(path, `${path}.1`);
  appendFileSync(`${path}.1`, linesFrom(15, 2));
  file("access.log", linesFrom(17, 3));
  await expectOnce(20);
  appendFileSync(path, linesFrom(20, 1));
  await expectOnce(21);
  command.kill("SIGINT");
  const { exitCode, output, errors } = await command.result;
  expect({ exitCode, ...JSON.parse(output) }).toMatchObject({ exitCode: 0, accepted: 21, bad: 0 });
  expect(errors).toMatch(/access\.log {2}10 lines/);
});

test("--follow starts over where a file was truncated", async () => {
  const path = file("access.log", linesFrom(0, 10));
  follow(path);
  await expectOnce(10);
  truncateSync(path);
  appendFileSync(path, linesFrom(10, 3));
  await expectOnce(13);
});

test("--follow starts over where a file was truncated and has grown past its old size since", async () => {
  const path = file("access.log", linesFrom(0, 10));
  follow(path);
  await expectOnce(10);
  // Truncates it, and writes at once.
  writeFileSync(path, linesFrom(10, 400));
  await expectOnce(410);
  appendFileSync(path, linesFrom(410, 5));
  await expectOnce(415);
});

const ROTATED_NAMES = ["access.log.1", "access-2026-01-31T12-00-00.000.log"];

test.each(ROTATED_NAMES)("--follow that was killed resumes, also with what is %s by then", async (rotatedName) => {
  const path = file("access.log", linesFrom(0, 10));
  const first = follow(path);
  await expectOnce(10);
  appendFileSync(path, linesFrom(10, 400));
  await waitFor("some of the lines", async () => (await users(0)).length > 10, DRAIN);
  first.kill("SIGKILL");
  await first.result;
  appendFileSync(path, linesFrom(410, 50));
  renameSync(path, join(dirname(path), rotatedName));
  file("access.log", linesFrom(460, 40));
  follow(path);
  await expectOnce(500);
});

test("--follow imports files that came and went while it did not run, and none from before its first run", async () => {
  const path = file("access.log", linesFrom(1_000, 7));
  renameSync(path, `${path}.1`);
  utimesSync(`${path}.1`, 1, 1);
  file("access.log", linesFrom(0, 3));
  const first = follow(path);
  await expectOnce(3);
  first.kill("SIGKILL");
  await first.result;
  appendFileSync(path, linesFrom(3, 1));
  renameSync(`${path}.1`, `${path}.3`);
  renameSync(path, `${path}.2`);
  utimesSync(`${path}.2`, 2, 2);
  renameSync(file("access.log", linesFrom(4, 5)), `${path}.1`);
  file("access.log", linesFrom(9, 2));
  const second = follow(path);
  await expectOnce(11);
  second.kill("SIGINT");
  expect((await second.result).errors).toContain(
    `${path}: --follow does not read rotated files older than what it imported: access.log.3. `,
  );
});

test("--follow sends again what was sent, never answered, and rotated by then", async () => {
  const path = file("access.log", linesFrom(0, 10));
  const proxy = await startProxy(service.port);
  try {
    let isSent = false;
    proxy.onUpstream = () => {
      isSent = true;
      return false;
    };
    const url = ["--url", `http://127.0.0.1:${proxy.port}`];
    const first = follow(path, ...url);
    await waitFor("a request", () => isSent, DRAIN);
    first.kill("SIGKILL");
    await first.result;
    proxy.onUpstream = undefined;
    renameSync(path, `${path}.1`);
    file("access.log", linesFrom(10, 3));
    follow(path, ...url);
    await expectOnce(13);
  } finally {
    await proxy.close();
  }
});

const ORDERS: Readonly<Record<string, readonly string[]>> = {
  "a number": ["access.log.12.gz", "access.log.9", "access.log.1"],
  "a date": ["access.log-20251231.gz", "access.log-20260101", "access.log-20260102"],
  "a date in Caddy's notation": [
    "access-2026-01-31T09-00-00.000.log.gz",
    "access-2026-01-31T10-00-00.000.log",
    "access-2026-01-31T10-00-00.123.log",
  ],
  "a number, then a date": ["access.log.2.gz", "access.log.1", "access.log-20260102"],
};

test.each(Object.entries(ORDERS))("--follow reads whatever was rotated meanwhile, ordered by %s", async (_, names) => {
  const path = file("access.log", linesFrom(0, 10));
  const first = follow(path);
  await expectOnce(10);
  first.kill("SIGKILL");
  await first.result;
  const text = linesFrom(0, 15);
  file(names[0]!, names[0]!.endsWith(".gz") ? Bun.gzipSync(new TextEncoder().encode(text)) : text);
  file(names[1]!, linesFrom(15, 20));
  file(names[2]!, linesFrom(35, 30));
  file("access.log", linesFrom(65, 10));
  const isMixed = names[2]!.includes("-") !== names[1]!.includes("-");
  // Not mixed: as if the oldest was compressed last, which may set a new time of change.
  for (const [i, name] of names.entries()) {
    const changedAt = isMixed ? i : 9 - i;
    utimesSync(join(folder, name), changedAt, changedAt);
  }
  follow(path);
  await expectOnce(75);
});

test("--follow waits for a file that is not there yet, in a folder that is not there yet", async () => {
  const path = join(folder, "logs", "access.log");
  const command = follow(path);
  // Created after the file was looked for.
  await waitFor("the state file", () => existsSync(join(folder, "import.sqlite")), DRAIN);
  mkdirSync(dirname(path));
  writeFileSync(path, linesFrom(0, 3));
  await expectOnce(3);
  command.kill("SIGINT");
  const { exitCode, errors } = await command.result;
  expect({ exitCode, errors }).toEqual({ exitCode: 0, errors: expect.stringContaining(`${path} does not exist yet`) });
});

test("--follow --strict stops with a file at its bad line, and goes on with the others", async () => {
  const path = file("access.log", linesFrom(0, 3));
  const bad = file("bad.log", `${linesFrom(3, 2)}bad\n${linesFrom(900, 1)}`);
  const command = follow(bad, path, "--strict");
  await expectOnce(5);
  renameSync(path, `${path}.1`);
  file("access.log", linesFrom(5, 2));
  await expectOnce(7);
  command.kill("SIGINT");
  const { exitCode, output } = await command.result;
  expect({ exitCode, ...JSON.parse(output) }).toMatchObject({ exitCode: 1, accepted: 7, bad: 1 });
});

test("--follow --strict stops at a bad line of a rotated file, before those that came after it", async () => {
  const path = file("access.log", linesFrom(0, 3));
  const first = follow(path);
  await expectOnce(3);
  first.kill("SIGKILL");
  await first.result;
  appendFileSync(path, `${linesFrom(3, 2)}bad\n`);
  renameSync(path, `${path}.1`);
  file("access.log", linesFrom(900, 1));
  const { exitCode, output } = await follow(path, "--strict").result;
  expect({ exitCode, ...JSON.parse(output) }).toMatchObject({ exitCode: 1, accepted: 2, bad: 1 });
  await expectOnce(5);
});

test("the summary names neither days nor where to see them if nothing was counted", async () => {
  const away = ["--url", "http://127.0.0.1:1", "--retry-for", "0", file("a.log", linesFrom(0, 3))];
  const { exitCode, output } = await runCommand(settings(), "import", ...away);
  expect({ exitCode, output }).toEqual({ exitCode: 2, output: expect.stringContaining("\n0 events accepted, ") });
  expect(output).not.toContain("see them");
  expect(output).not.toContain("day (UTC)");
  expect(await importNow(...away)).toMatchObject({ accepted: 0, days: [] });
});

test("--follow waits for a file that is not there after a rotation, and refuses standard input", async () => {
  const path = file("access.log", linesFrom(0, 2));
  follow(path);
  await expectOnce(2);
  renameSync(path, `${path}.1`);
  appendFileSync(`${path}.1`, linesFrom(2, 1));
  await expectOnce(3);
  file("access.log", linesFrom(3, 1));
  await expectOnce(4);
  expect((await importNow("--follow", "-")).error).toContain("--follow takes files");
});

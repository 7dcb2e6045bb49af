/** The parts of an import: lines, times, CSV, records, ids, and the delivery of a shipment. */
import { describe, expect, spyOn, test } from "bun:test";
import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { hourArgument, timeArgument } from "../../src/cli/arguments.ts";
import { Content, sourcesOf } from "../../src/cli/import/content.ts";
import { eventReader } from "../../src/cli/import/event-reader.ts";
import { layoutOf } from "../../src/cli/import/formats/layout.ts";
import { ImportError } from "../../src/cli/import/import-error.ts";
import { EventIds, firstChain, RECORD_MAX_BYTES, RecordSplitter } from "../../src/cli/import/records-and-ids.ts";
import { progressText, Report } from "../../src/cli/import/report.ts";
import { rotationOf } from "../../src/cli/import/rotated-files.ts";
import { Sender } from "../../src/cli/import/sender.ts";
import { HOUR_MS } from "../../src/domain/event.ts";
import { TimeZone } from "../../src/domain/time-zone.ts";
import { csvFields, csvRecord } from "../../src/protocol/csv.ts";
import { eventJson } from "../../src/protocol/event/object-rules.ts";
import { OLDEST_MS } from "../../src/protocol/event/query-rules.ts";
import { timeOf } from "../../src/protocol/time-text.ts";

const NOON = Date.UTC(2026, 0, 31, 12);
const NOW = NOON + HOUR_MS;
const LOG_LINE = '1.2.3.4 - - [31/Jan/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 17';

describe("a time", () => {
  const instants: Readonly<Record<string, number | undefined>> = {
    "2026-01-31T12:00:00Z": NOON,
    "2026-01-31T12:00Z": NOON,
    "2026-01-31 12:00:00+00:00": NOON,
    "2026-01-31T13:30:00+01:30": NOON,
    "2026-01-31T10:30:00-0130": NOON,
    "2026-01-31T12:00:00.123456789Z": NOON + 123,
    "2026-01-31T12:00:00,5Z": NOON + 500,
    [String(NOON)]: NOON,
    "0": 0,
    "": undefined,
    "-1": undefined,
    "1.5": undefined,
    "2026-01-31T12:00:00": undefined,
    "2026-01-31": undefined,
    "2026-02-30T12:00:00Z": undefined,
    "2026-01-31T24:00:00Z": undefined,
    "2026-01-31T12:00:00+25:00": undefined,
    "31.01.2026 12:00": undefined,
  };
  for (const [text, at] of Object.entries(instants)) {
    test(`'${text}' is ${at ?? "none"}`, () => expect(timeOf(text, undefined)).toBe(at as number));
  }

  const bounds: Readonly<Record<string, number>> = {
    "2026-01-31": NOON - 12 * HOUR_MS,
    "2026-01-31T12": NOON,
    "2026-01-31T12:00": NOON,
    "2026-01-31T12:00:00": NOON,
    "2026-01-31T13:00+01:00": NOON,
    [String(NOON)]: NOON,
  };
  for (const [text, at] of Object.entries(bounds)) {
    test(`'${text}' as a bound is ${at}`, () => expect(timeArgument(text)).toBe(at));
  }
  test("'noon' as a bound is none", () => expect(() => timeArgument("noon")).toThrow("Expected 2026-01-31"));
  test("a day is not an hour, and the error says what to write", () => {
    expect(hourArgument("2026-01-31T12")).toBe(NOON);
    expect(() => hourArgument("2026-01-31")).toThrow("Expected one of its hours, such as 2026-01-31T00 (UTC)");
    expect(() => hourArgument("noon")).toThrow("Expected 2026-01-31T12 (UTC");
  });
  for (const text of ["2026-02-30", "2026-02-30T12", "2026-01-31T25:00"])
    test(`'${text}' does not exist`, () =>
      expect(() => timeArgument(text)).toThrow("Expected a day and time that exist: 2026-01-31, "));
});

const anyField = fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom('"', ",", "\n", "\r", "a", "é") }));

describe("a record of CSV", () => {
  test("is its fields again, whatever they hold", () => {
    const fields = fc.array(anyField, { minLength: 1 });
    fc.assert(fc.property(fields, (some) => expect(csvFields(csvRecord(some))).toEqual(some)));
  });

  for (const record of ['a"b', '"a"b', '"a', 'a,"b', '"a" ,b']) {
    test(`${record} is none`, () => expect(csvFields(record)).toBeUndefined());
  }
});

interface Split {
  readonly text: string;
  readonly start: number;
  readonly line: number;
  readonly problem: string | undefined;
  readonly before: string;
}

/** `cuts`: where the content is cut into blocks. */
function split(content: Buffer, isCsv: boolean, cuts: readonly number[] = [], start = { offset: 0, line: 1 }) {
  const splitter = new RecordSplitter(start, isCsv);
  const places = [...new Set([0, ...cuts.filter((cut) => cut < content.length), content.length])];
  const sorted = places.sort((a, b) => a - b);
  const blocks = sorted.slice(1).map((end, i) => content.subarray(sorted[i]!, end));
  const records: Split[] = [];
  for (const block of [...blocks, undefined]) {
    for (const { bytes, start: at, line, problem } of splitter.split(block)) {
      const before = splitter.sha256().toString("hex");
      records.push({ text: bytes.toString(), start: at, line, problem, before });
    }
  }
  return { records, splitter };
}

describe("a content", () => {
  const cuts = fc.array(fc.nat(400), { maxLength: 20 });

  test("is split into the same lines, however it comes in blocks, and hashed up to each", () => {
    const lines = fc.array(fc.string({ unit: fc.constantFrom("a", "é", " ", "\r", '"') }), { maxLength: 30 });
    fc.assert(
      fc.property(lines, cuts, fc.boolean(), (some, where, isEnded) => {
        const text = some.join("\n") + (isEnded ? "\n" : "");
        const content = Buffer.from(text);
        const { records, splitter } = split(content, false, where);
        const expected = text.split("\n");
        if (expected.at(-1) === "") expected.pop();
        expect(records.map((record) => record.text)).toEqual(expected);
        expect(records.map(({ line }) => line)).toEqual(expected.map((_, i) => i + 1));
        expect(splitter.offset).toBe(content.length);
        for (const [i, { before }] of records.entries()) {
          const end = records[i + 1]?.start ?? content.length;
          expect(before).toBe(Bun.SHA256.hash(content.subarray(0, end), "hex"));
        }
      }),
    );
  });

  test("of CSV is split into the records that were written", () => {
    const fields = fc.array(fc.array(anyField, { minLength: 2, maxLength: 3 }), { maxLength: 10 });
    fc.assert(
      fc.property(fields, cuts, (some, where) => {
        const content = Buffer.from(some.map((record) => `${csvRecord(record)}\n`).join(""));
        const { records } = split(content, true, where);
        expect(records.map(({ text }) => csvFields(text))).toEqual(some);
        const lines = records.map(({ start }) => content.toString("utf8", 0, start).split("\n").length);
        expect(records.map(({ line }) => line)).toEqual(lines);
      }),
    );
  });

  test("resumes after any record as if it had started earlier", () => {
    const content = Buffer.from('a,b\n"x\ny",c\nd,e\n');
    const all = split(content, true).records;
    for (const [i, { start, line }] of all.entries()) {
      const rest = split(content, true, [2, 9], { offset: start, line }).records;
      expect(rest).toEqual(all.slice(i));
    }
  });

  const long = "x".repeat(RECORD_MAX_BYTES);
  test("has lines that are too long: said once each, and skipped", () => {
    const content = Buffer.from(`a\n${long}\n${long}y\nb\n${long}z${long}`);
    for (const where of [[], [5, 70_000, 140_000], [131_076]]) {
      const { records } = split(content, false, where);
      const seen = records.map(({ text, line, problem }) => [text.length, line, problem === undefined]);
      const size = RECORD_MAX_BYTES;
      expect(seen).toEqual([
        [1, 1, true],
        [size, 2, true],
        [size, 3, false],
        [1, 4, true],
        [size, 5, false],
      ]);
    }
  });

  test("is split up to the start of an overlong line until its end has come", () => {
    const begin = Buffer.from("a\n");
    const splitter = new RecordSplitter({ offset: 0, line: 1 }, false);
    const end = () => ({ offset: splitter.offset, line: splitter.line, sha256: splitter.sha256().toString("hex") });
    const beforeIt = { offset: begin.length, line: 2, sha256: Bun.SHA256.hash(begin, "hex") };
    for (const block of [Buffer.concat([begin, Buffer.from(long)]), Buffer.from("xy"), Buffer.from(long)]) {
      for (const { line } of splitter.split(block, true)) expect(line).toBe(1);
      expect(end()).toEqual(beforeIt);
    }
    expect([...splitter.split(undefined, true)]).toEqual([]);
    expect([end(), splitter.hasRest]).toEqual([beforeIt, true]);
    const whole = Buffer.from(`a\n${long}xy${long}\n`);
    const [{ start, line, problem } = {}] = splitter.split(Buffer.from("\n"), true);
    expect({ start, line, problem }).toMatchObject({ start: begin.length, line: 2, problem: expect.any(String) });
    // A strict import stops before the line.
    expect(splitter.sha256(begin.length).toString("hex")).toBe(beforeIt.sha256);
    expect(end()).toEqual({ offset: whole.length, line: 3, sha256: Bun.SHA256.hash(whole, "hex") });
  });

  test("of CSV has quotes that do not close: one line is bad, and the next is read", () => {
    const rows = "c,d\n".repeat(RECORD_MAX_BYTES / 4);
    for (const where of [[], [1, 3], [40_000], [65_540]]) {
      const { records } = split(Buffer.from(`"a,b\n${rows}`), true, where);
      expect(records.slice(0, 2).map(({ text, line }) => [text, line])).toEqual([
        ['"a,b', 1],
        ["c,d", 2],
      ]);
      expect(records[0]!.problem).toContain("quote");
      expect(records).toHaveLength(1 + RECORD_MAX_BYTES / 4);
    }
    const { records } = split(Buffer.from('a,b\n"c,d\ne,f\n'), true);
    expect(records.map(({ text, problem }) => [text, problem !== undefined])).toEqual([
      ["a,b", false],
      ['"c,d', true],
      ["e,f", false],
    ]);
  });
});

test("a followed file that was quiet for long, and is renamed, is read on: its writer still has it open", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hourglass-content-"));
  const path = join(folder, "access.log");
  writeFileSync(path, "a\n");
  let now = 0;
  const clock = spyOn(performance, "now").mockImplementation(() => now);
  const content = new Content(sourcesOf([path])[0]!, { pollMs: 1, stopped: new AbortController().signal });
  const blocks = content.blocks();
  const next = async () => (await blocks.next()).value?.toString();
  try {
    expect([await next(), await next()]).toEqual(["a\n", ""]);
    now += HOUR_MS;
    renameSync(path, `${path}.1`);
    expect(await next()).toBe("");
    appendFileSync(`${path}.1`, "b\n");
    expect([await next(), await next()]).toEqual(["b\n", ""]);
    now += HOUR_MS;
    expect(await next()).toBeUndefined();
  } finally {
    clock.mockRestore();
    await content.close();
    rmSync(folder, { recursive: true });
  }
});

describe("ids", () => {
  const idsOf = (lines: readonly string[], head = "") => {
    const ids = new EventIds(firstChain(Buffer.from(head), 0));
    let start = 0;
    return lines.map((line) => {
      ids.advance(Buffer.from(line));
      const id = ids.id(start);
      start += line.length + 1;
      return id;
    });
  };

  test("are the same for the same content, and never the same for two lines", () => {
    const lines = Array.from({ length: 1_000 }, (_, i) => `line ${i % 7}`);
    expect(idsOf(lines)).toEqual(idsOf(lines));
    expect(new Set(idsOf(lines)).size).toBe(1_000);
    expect(idsOf(lines)[1]).toMatch(/^00000000007[A-Za-z0-9_-]{16}$/);
    // For who keeps them in a tree.
    expect(idsOf(lines)).toEqual(idsOf(lines).toSorted());
  });

  test("differ from where contents differ on", () => {
    const [one, other] = [idsOf(["a", "b", "c", "d"]), idsOf(["a", "b", "x", "d"])];
    expect(one.map((id, i) => id === other[i])).toEqual([true, true, false, false]);
    expect(idsOf(["a"], "head")).not.toEqual(idsOf(["a"]));
    expect(idsOf(["ab"])[0]).not.toBe(idsOf(["a", "b"])[1]);
    expect(idsOf(["a", "a"])[0]!.slice(11)).not.toBe(idsOf(["a", "a"])[1]!.slice(11));
  });

  test("resume from a chain", () => {
    const ids = new EventIds(firstChain(Buffer.alloc(0), 0));
    ids.advance(Buffer.from("a"));
    const later = new EventIds(ids.chain);
    later.advance(Buffer.from("b"));
    expect(later.id(2)).toBe(idsOf(["a", "b"])[1]!);
  });
});

describe("the format", () => {
  const formats: Readonly<Record<string, string>> = {
    '\n\n{"timestamp":1}\n': "ndjson",
    '1.2.3.4 - - [31/Jan/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 17\n': "log",
    "user,event,timestamp\n": "csv",
    '"id","stream","timestamp","event","user"\r\n': "csv",
    "\uFEFFTimestamp, User, Event": "csv",
  };
  for (const [head, format] of Object.entries(formats)) {
    test(`of ${JSON.stringify(head)} is ${format}`, () => {
      expect(layoutOf(Buffer.from(head), "auto")?.format).toBe(format as "csv");
    });
  }

  test("is none of bytes that are no text, whatever compressed them", () => {
    const packed = Bun.zstdCompressSync("user,event,timestamp\n");
    for (const bytes of [packed, Buffer.from("user,event,timestamp", "utf16le")]) {
      expect(() => layoutOf(bytes, "auto")).toThrow("decompress it unless it is gzipped");
    }
  });

  test("of CSV: records begin behind the header", () => {
    expect(layoutOf(Buffer.from("\uFEFF\nuser,event,timestamp\r\na"), "csv")).toEqual({
      format: "csv",
      start: { offset: 26, line: 3 },
      columns: ["user", "event", "timestamp"],
      separator: ",",
    });
  });

  test("of CSV: its fields are separated as its header is, or as its first line says", () => {
    const separatorOf = (head: string) => layoutOf(Buffer.from(head), "auto")!.separator;
    expect(separatorOf("timestamp;user;event\n1779012303000;ann;click\n")).toBe(";");
    expect(separatorOf("timestamp\tuser\tevent\n")).toBe("\t");
    expect(separatorOf("timestamp,user,event\n")).toBe(",");
    expect(layoutOf(Buffer.from("sep=;\r\ntimestamp;user;event\r\n"), "auto")).toMatchObject({
      ...{ format: "csv", separator: ";", start: { offset: 29, line: 3 } },
    });
  });

  test("is that of most lines: an odd one does not matter", () => {
    const lines = ["hello", LOG_LINE, "", '{"a":1}', LOG_LINE].join("\n");
    expect(layoutOf(Buffer.from(lines), "auto")!.format).toBe("log");
  });

  const refused: Readonly<Record<string, string>> = {
    hello: "--format",
    "t\0i\0m\0e\0": "UTF-16",
    "timestamp,user,event,ids": '"ids" unknown',
    "timestamp,user": '"event" missing',
    "timestamp,user,event,user": '"user" repeated',
  };
  for (const [head, message] of Object.entries(refused)) {
    test(`of '${head}' is refused`, () => {
      expect(() => layoutOf(Buffer.from(head), "auto")).toThrow(ImportError);
      expect(() => layoutOf(Buffer.from(head), "auto")).toThrow(message);
    });
  }

  test("of nothing is none", () => {
    for (const head of ["", "\n \n", "\uFEFF"]) expect(layoutOf(Buffer.from(head), "auto")).toBeUndefined();
  });
});

describe("an event", () => {
  const options = { stream: "site", logKind: "referrer", isIdNew: false, earliest: OLDEST_MS } as const;
  const csv = layoutOf(Buffer.from("id,stream,event,user,timestamp\n"), "csv")!;
  const ndjson = layoutOf(Buffer.from("{}"), "ndjson")!;
  const ofCsv = (text: string) => eventReader(csv, options)(text, "new-id", NOW);
  const ofJson = (value: unknown) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    return eventReader(ndjson, options)(text, "new-id", NOW);
  };
  const EVENT = { stream: "site", at: NOON, kind: "click", user: "ann", id: "new-id" } as const;

  test("of CSV has what its fields say, and what they leave out", () => {
    expect(ofCsv(",,click,ann,2026-01-31T12:00:00Z")).toEqual(EVENT);
    expect(ofCsv(`7,shop,impression,"a,""b""",${NOON}`)).toEqual({
      ...{ stream: "shop", at: NOON, kind: "impression", user: 'a,"b"', id: "7" },
    });
  });

  test("of JSON has what its members say, and what they leave out", () => {
    expect(ofJson({ timestamp: NOON, user: "ann", event: "click" })).toEqual(EVENT);
    expect(ofJson({ timestamp: "2026-01-31T12:00:00Z", user: "ann", event: "click" })).toEqual(EVENT);
    expect(ofJson({ timestamp: NOON, user: 'a\\"', event: "click", stream: "x", id: '"' })).toEqual({
      ...{ ...EVENT, user: 'a\\"', stream: "x", id: '"' },
    });
  });

  test("of the default stream stays there if it says so", () => {
    expect(ofJson({ timestamp: NOON, user: "ann", event: "click", stream: "default" })).toEqual({
      ...{ ...EVENT, stream: "default" },
    });
  });

  test("has the time of the zone that is named, where it names no offset", () => {
    const read = eventReader(csv, { ...options, zone: TimeZone.named("Europe/Berlin")! });
    expect(read(",,click,ann,2026-01-31 13:00:00", "new-id", NOW)).toEqual(EVENT);
    expect(read(",,click,ann,2026-01-31T12:00:00Z", "new-id", NOW)).toEqual(EVENT);
  });

  test("of a log has a time that exists, else the problem names it", () => {
    const layout = layoutOf(Buffer.from(LOG_LINE), "log")!;
    const read = (text: string) => eventReader(layout, options)(text, "new-id", NOW);
    expect(read(LOG_LINE.replace("Jan", "Feb"))).toBe("there is no such time: 31/Feb/2026:12:00:00 +0000");
    expect(read(LOG_LINE.replace("HTTP", '"'))).toBe("not a line of a log in the format log");
    expect(ofCsv("one")).toBe("it has 1 field, but the header has 5");
  });

  test("of CSV with semicolons may have quotes and commas", () => {
    const layout = layoutOf(Buffer.from("timestamp;user;event\n"), "auto")!;
    expect(eventReader(layout, options)(`${NOON};"a;""b""";click`, "new-id", NOW)).toEqual({
      ...{ ...EVENT, user: 'a;"b"' },
    });
    expect(eventReader(layout, options)(`${NOON};a,b;click`, "new-id", NOW)).toEqual({
      ...EVENT,
      user: "a,b",
    });
  });

  test("in seconds is refused, unless times are said to be old", () => {
    const text = JSON.stringify({ timestamp: 1_795_961_013, user: "ann", event: "click" });
    expect(eventReader(ndjson, options)(text, "new-id", NOW)).toContain("did you send seconds?");
    const old = eventReader(ndjson, { ...options, earliest: 0 });
    expect(old(text, "new-id", NOW)).toMatchObject({ at: 1_795_961_013 });
  });

  test("has a new id if the options say so", () => {
    const read = eventReader(ndjson, { ...options, isIdNew: true });
    const text = JSON.stringify({ timestamp: NOON, user: "ann", event: "click", id: "own" });
    expect(read(text, "new-id", NOW)).toEqual(EVENT);
  });

  const bad: readonly (readonly [string | object, string])[] = [
    [ofCsv(",,click,ann"), "4 fields"],
    [ofCsv(',,click,a"nn,0'), "quote"],
    [ofCsv(",,click,ann,noon"), 'timestamp: got "noon"'],
    [ofCsv(",,click,ann,"), 'timestamp: got ""'],
    [ofCsv(`,,tap,ann,${NOON}`), "event"],
    [ofCsv(`,,click,,${NOON}`), "user"],
    [ofCsv(`,a b,click,ann,${NOON}`), "stream"],
    [ofCsv(`,,click,ann,${NOW + 25 * HOUR_MS}`), "timestamp"],
    [ofJson("{"), "not JSON"],
    [ofJson("[]"), "an object"],
    [ofJson("null"), "an object"],
    [ofJson({ timestamp: "noon", user: "ann", event: "click" }), 'timestamp: got "noon"'],
    [ofJson({ timestamp: NOON, user: "ann", event: "click", ids: 7 }), "ids"],
    [ofJson({ timestamp: NOON, user: "ann", event: "click", id: null }), "id"],
    [ofJson({ timestamp: NOON, user: "x".repeat(256), event: "click" }), "user"],
    [ofJson({ timestamp: NOON, user: "\uFFFD", event: "click" }), "user"],
    [ofJson(`{"timestamp":${NOON},"user":"a","user":"b","event":"click"}`), "user"],
  ];
  for (const [problem, says] of bad) {
    test(`is none: ${says}`, () => expect(problem).toContain(says.replace("an object", "a JSON object")));
  }
});

interface Sent {
  readonly body: string;
  readonly at: number;
}

/** A service with scripted answers, and a clock that only waiting moves. */
function senderTo(answers: readonly (Response | Error)[], retryForMs = 60_000) {
  const sent: Sent[] = [];
  const setbacks: string[] = [];
  let time = NOW;
  let next = 0;
  const sender = new Sender({
    isOld: false,
    service: {
      url: "http://service",
      ask: async (_, request) => {
        sent.push({ body: String(request?.body), at: time });
        const answer = answers[Math.min(next++, answers.length - 1)]!;
        if (answer instanceof Error) throw answer;
        return answer.clone() as Response;
      },
    },
    retryForMs,
    now: () => time,
    sleep: async (ms) => {
      time += ms;
    },
    onSetback: (reason) => void setbacks.push(reason),
  });
  return { sender, sent, setbacks };
}

function answered(counts: object, status = 200, headers: Record<string, string> = {}): Response {
  const none = { events: 3, accepted: 0, duplicates: 0, invalid: 0, refused: 0, unknown: 0, errors: [] };
  return Response.json({ ...none, ...counts }, { status, headers });
}

describe("a shipment", () => {
  const shipment = { events: ["a", "b", "c"], sentAt: NOW };
  const ALL_TAKEN = answered({ accepted: 3 });
  const AWAY = Response.json({ error: { message: "overloaded" } }, { status: 503 });
  const refusal = (...indexes: [number, number][]) => ({ refusals: [{ message: "full", indexes }] });

  test("is sent again as it was until it is answered", async () => {
    const { sender, sent, setbacks } = senderTo([new Error("reset"), AWAY, ALL_TAKEN]);
    expect(await sender.send(shipment)).toEqual({ accepted: 3, duplicates: 0, invalid: 0, problems: [] });
    expect(sent.map(({ body }) => body)).toEqual(["a\nb\nc", "a\nb\nc", "a\nb\nc"]);
    expect(setbacks).toEqual(["no answer: reset", "it answered 503: overloaded"]);
  });

  test("that was refused in part is sent again in that part", async () => {
    const part = answered({ accepted: 1, refused: 2, ...refusal([0, 0], [2, 2]) }, 207);
    const rest = answered({ events: 2, invalid: 1, duplicates: 1, errors: [{ index: 1, message: "bad" }] });
    const { sender, sent } = senderTo([part, rest]);
    expect(await sender.send(shipment)).toEqual({
      accepted: 1,
      duplicates: 1,
      invalid: 1,
      problems: [{ position: 2, problem: "bad" }],
    });
    expect(sent.map(({ body }) => body)).toEqual(["a\nb\nc", "a\nc"]);
  });

  test("waits as long as retry-after says, and longer with each retry", async () => {
    const told = Response.json({ error: { message: "full" } }, { status: 503, headers: { "retry-after": "7" } });
    const first = senderTo([told, ALL_TAKEN]);
    await first.sender.send(shipment);
    const waited = first.sent[1]!.at - first.sent[0]!.at;
    expect(waited).toBeGreaterThanOrEqual(7_000);
    expect(waited).toBeLessThanOrEqual(8_750);
    const backingOff = senderTo([...Array(6).fill(AWAY), ALL_TAKEN]);
    await backingOff.sender.send(shipment);
    const waits = backingOff.sent.slice(1).map(({ at }, i) => at - backingOff.sent[i]!.at);
    for (const [i, wait] of waits.entries()) {
      expect(wait).toBeGreaterThanOrEqual(50 * 2 ** i);
      expect(wait).toBeLessThanOrEqual(100 * 2 ** i);
    }
  });

  const hopeless: readonly (readonly [string, Response | Error, string])[] = [
    ["a service that stays away", new Error("refused"), "tried"],
    [
      "a service that asks for too much patience",
      new Response("", { status: 503, headers: { "retry-after": "61" } }),
      "once",
    ],
    [
      "a service that does not know the path",
      Response.json({ error: { message: "no such" } }, { status: 404 }),
      "no such",
    ],
    ["a page of something else", new Response("<html>"), "not a Hourglass service"],
    ["a redirect", new Response("", { status: 302 }), "302"],
    ["an answer that does not add up", answered({ accepted: 2 }), "not a Hourglass service"],
    [
      "an answer that refuses and does not say what",
      answered({ accepted: 2, refused: 1 }, 207),
      "not a Hourglass service",
    ],
    [
      "an answer about another event",
      answered({ invalid: 3, errors: [{ index: 3, message: "" }] }),
      "not a Hourglass service",
    ],
  ];
  for (const [what, answer, says] of hopeless) {
    test(`is given up: ${what}`, async () => {
      const { sender } = senderTo([answer]);
      const error = await sender.send(shipment).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(ImportError);
      expect((error as Error).message).toContain(says);
    });
  }

  test("is not given up while part of it is accepted", async () => {
    const slow = [
      answered({ events: 3, accepted: 1, refused: 2, ...refusal([1, 2]) }, 207, { "retry-after": "40" }),
      answered({ events: 2, accepted: 1, refused: 1, ...refusal([1, 1]) }, 207, { "retry-after": "40" }),
      answered({ events: 1, accepted: 1 }),
    ];
    expect((await senderTo(slow).sender.send(shipment)).accepted).toBe(3);
  });

  test("that was sent almost a day ago is not sent again", async () => {
    const { sender, sent } = senderTo([ALL_TAKEN]);
    const error = await sender.send({ ...shipment, sentAt: NOW - 23.5 * HOUR_MS }).catch((e: Error) => e);
    expect((error as Error).message).toContain("twice");
    expect(sent).toEqual([]);
  });

  test("of nothing is not sent", async () => {
    const { sender, sent } = senderTo([ALL_TAKEN]);
    expect((await sender.send({ events: [], sentAt: NOW })).accepted).toBe(0);
    expect(sent).toEqual([]);
  });
});

describe("what is shown", () => {
  test("of the way that is behind and before it", () => {
    const reading = { name: "a.log", lines: 120_000, readBytes: 300, newBytes: 300, sizeBytes: 1_000 };
    expect(progressText(reading, 2_000)).toBe("a.log  120,000 lines  60,000/s  30 %  0:05 to go");
    expect(progressText({ ...reading, sizeBytes: undefined }, 2_000)).toBe("a.log  120,000 lines  60,000/s");
    expect(progressText({ ...reading, lines: 0 }, 2_000)).toBe("a.log  0 lines  30 %  0:05 to go");
    expect(progressText({ ...reading, newBytes: 1 }, 9_000_000)).toEndWith("  1750:00:00 to go");
  });

  test("of bad lines are the first 20", () => {
    const written: string[] = [];
    const report = new Report({
      write: (text) => void written.push(text),
      isTerminal: false,
      now: () => NOW,
    });
    for (let line = 1; line <= 30; line++) report.badLine("a.log", line, "bad");
    expect(written).toHaveLength(21);
    expect(written[19]).toBe("a.log:20: bad\n");
    expect(written[20]).toContain("not shown");
  });

  test("on a terminal alone is a line written over again", () => {
    const written: string[] = [];
    const write = (text: string) => void written.push(text);
    const reading = { name: "a", lines: 0, readBytes: 0, sizeBytes: 10 };
    new Report({ write, isTerminal: false, now: () => NOW }).progress(reading);
    expect(written).toEqual([]);
    const report = new Report({ write, isTerminal: true, now: () => NOW });
    report.begin(0);
    report.progress(reading);
    report.progress(reading);
    report.end();
    expect(written).toEqual(["\r\u001b[Ka  0 lines  0 %", "\r\u001b[K"]);
  });

  test("of a long run elsewhere is a line a minute", () => {
    const written: string[] = [];
    let now = NOW;
    const report = new Report({
      write: (text) => void written.push(text),
      isTerminal: false,
      isLong: true,
      now: () => now,
    });
    report.begin(0);
    for (const lines of [1, 2, 3]) {
      report.progress({ name: "a", lines, readBytes: 0, sizeBytes: undefined });
      now += 30_000;
    }
    report.end();
    expect(written).toEqual(["a  1 lines\n", "a  3 lines\n"]);
  });
});

test("event lines are what the service reads", () => {
  const event = { stream: "s", at: NOON, kind: "click", user: 'a"\n', id: "7" } as const;
  expect(JSON.parse(eventJson(event))).toEqual({
    ...{ timestamp: NOON, user: 'a"\n', event: "click", stream: "s", id: "7" },
  });
  expect(eventJson(event)).not.toContain("\n");
});

test("names that servers and logrotate give to a rotated file are known, and no others", () => {
  const isRotated = (name: string) => rotationOf(name, "access.log") !== undefined;
  const ROTATED = [
    ...["access.log.1", "access.log.12.gz", "access.log-20260131", "access.log-20260131.gz", "access.log.2026-01-31"],
    ...["access-20260131.log", "access-2026-01-31.log.gz", "access-2026-01-31T12-00-00.000.log"],
    ...["access-2026-01-31T12-00-00.000.log.gz", "access-2026-01-31T12-00-00.000-size.log", "access.2026-01-31.log"],
  ];
  const OTHERS = [
    "access.log",
    "access.log.bak",
    "access-2.log",
    "access-shop.log",
    "access-20260131.txt",
    "error-20260131.log",
  ];
  expect([...ROTATED, ...OTHERS].filter(isRotated)).toEqual(ROTATED);
});

test("a rotated file's name says when it was rotated: by a number, or by a date in any notation", () => {
  const rotations: Readonly<Record<string, NonNullable<ReturnType<typeof rotationOf>>>> = {
    "access.log.1": { number: 1 },
    "access.log.12.gz": { number: 12 },
    "access.log-3": { number: 3 },
    "access.log-2026": { date: "2026" },
    "access.log-202601": { date: "202601" },
    "access.log-20260131.gz": { date: "20260131" },
    "access.log.2026-01-31.2": { date: "20260131.2" },
    "access.log.1769850000": { date: "1769850000" },
    "access.log.2026.01.31": { date: "20260131" },
    "access-2026-01-31T12-00-00.000.log.gz": { date: "20260131T12-00-00.000" },
    "access-2026-01-31T12-00-00.000-size.log": { date: "20260131T12-00-00.000" },
  };
  for (const [name, rotation] of Object.entries(rotations)) expect(rotationOf(name, "access.log")).toEqual(rotation);
});

/**
 * Parsers take time in proportion to their input, whatever a client sends. Each gets inputs that repeat what makes a
 * careless parser start over: separators, quotes, escapes, brackets, spaces.
 */
import { numberOfDFGCompiles } from "bun:jsc";
import { describe, expect, test } from "bun:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { isbot } from "isbot";
import { eventReader } from "../../src/cli/import/event-reader.ts";
import type { Layout } from "../../src/cli/import/formats/layout.ts";
import { RECORD_MAX_BYTES, RecordSplitter } from "../../src/cli/import/records-and-ids.ts";
import { isStreamGrant, StreamSet } from "../../src/domain/stream-rules.ts";
import { matches, preferredFormat } from "../../src/http/format-etag-gzip.ts";
import { RedirectTargets } from "../../src/http/ingest/redirect-targets.ts";
import {
  HOURS_OF_ZONE,
  periodOf,
  SeriesQuerySchema,
  StreamsQuerySchema,
  UTC_HOURS,
} from "../../src/http/query/range-requests.ts";
import { ClientAddresses, networkOf } from "../../src/http/requests/client-address.ts";
import { traceOf } from "../../src/http/requests/log-lines.ts";
import { MessageBody, readMessage } from "../../src/intake/message-content.ts";
import { encodingOf, unpack } from "../../src/protocol/body/encoding.ts";
import { formatOf, textOf } from "../../src/protocol/body/format.ts";
import { BODY_MAX_BYTES } from "../../src/protocol/body/limits.ts";
import { type BodyFormat, readEvents } from "../../src/protocol/body/read-events.ts";
import { csvFields } from "../../src/protocol/csv.ts";
import { eventOf, whatIsWrongWith } from "../../src/protocol/event/from-object.ts";
import { readEvent, readHourQuery } from "../../src/protocol/event/from-query.ts";
import { linkQueryOf, queryOf, readQuery } from "../../src/protocol/query-string.ts";
import { isLinear, type Work } from "../harness/growth.ts";

const NOW = Date.UTC(2026, 0, 31, 12);
const TIMES = { now: NOW, earliest: 0, defaultAt: NOW };
/** Bun answers 431 to a request whose head is longer. */
const HEAD_MAX_BYTES = 16_384;
const EVENT_MAX_CHARS = 16_384;

const GOOD = `{"timestamp":${NOW},"user":"u","event":"click"}`;
const QUOTES = '\\"';

function repeated(unit: string, size: number): string {
  return unit.repeat(Math.ceil(size / unit.length));
}

/** The content of hostile bodies and lines. */
const FILLINGS: Readonly<Record<string, (size: number) => string>> = {
  "line ends": (size) => repeated("\n", size),
  "carriage returns and line ends": (size) => repeated("\r\n", size),
  blanks: (size) => repeated(" ", size),
  "blanks, and a line end now and then": (size) => repeated(`${" ".repeat(999)}\n`, size),
  "tabs and blanks before each line end": (size) => repeated("\t \n", size),
  "good events": (size) => repeated(`${GOOD}\n`, size),
  "good events, each after many blank lines": (size) => repeated(`${"\n".repeat(400)}${GOOD}`, size),
  quotes: (size) => repeated('"', size),
  "quotes in lines": (size) => repeated('"\n', size),
  "escaped quotes": (size) => repeated(QUOTES, size),
  backslashes: (size) => repeated("\\", size),
  "a text that does not end": (size) => `["${repeated("x", size)}`,
  "opening brackets": (size) => repeated("[", size),
  "closing brackets": (size) => `[${repeated("]", size)}`,
  "opening braces in lines": (size) => repeated("{\n", size),
  braces: (size) => `[${repeated("{},", size)}{}]`,
  commas: (size) => `[${repeated(",", size)}]`,
  "blanks between commas": (size) => `[${repeated("   ,", size)}]`,
  "blanks within an array": (size) => `[${repeated(" ", size)}]`,
  "blanks after an array": (size) => `[]${repeated(" ", size)}]`,
  "an array of events": (size) => `[${repeated(`${GOOD},`, size)}${GOOD}]`,
  "byte order marks": (size) => repeated("\ufeff", size / 3),
  NUL: (size) => repeated("\0", size),
  "unpaired surrogates, escaped": (size) => repeated('"\\ud800",', size),
};

/** Texts of one event, which is bounded by itself. */
const EVENT_FILLINGS: Readonly<Record<string, (size: number) => string>> = {
  "a long user of escaped quotes, given twice": (size) =>
    `{"user":"${repeated(QUOTES, size)}","timestamp":${NOW},"user":"u","event":"click"}`,
  "a long user of texts and colons, given twice": (size) =>
    `{"user":"${repeated('\\"a\\":', size)}","timestamp":${NOW},"user":"u","event":"click"}`,
  "a member many times": (size) => `{${repeated('"user":"u",', size)}"timestamp":${NOW},"user":"u","event":"click"}`,
  "blanks before each comma, a member many times": (size) =>
    `{${repeated('"user":"u"        ,', size)}"timestamp":${NOW},"user":"u","event":"click"}`,
  "blanks after a text": (size) => `{"user":"a"${" ".repeat(size)},"timestamp":${NOW},"user":"u","event":"click"}`,
  "many unknown members": (size) =>
    `{${Array.from({ length: Math.ceil(size / 9) }, (_, i) => `"m${i}":1,`).join("")}"a":1}`,
  "a long name": (size) => `{"${repeated("~1~0", size)}":1}`,
  nesting: (size) => `{"user":${"[".repeat(size / 2)}${"]".repeat(size / 2)}}`,
};

function reading(format: BodyFormat, fill: (size: number) => string, invalidMaxListed: number): Work {
  return {
    maxBytes: BODY_MAX_BYTES,
    prepare: (size) => {
      const text = textOf(Buffer.from(fill(size)));
      const options = { format, ...TIMES, admits: () => true, invalidMaxListed };
      return () => readEvents(text, options);
    },
  };
}

function bodies(): Record<string, Work> {
  const works: Record<string, Work> = {};
  for (const format of ["ndjson", "array", "object"] as const) {
    for (const [what, fill] of Object.entries(FILLINGS)) {
      works[`a body, ${format}, of ${what}`] = reading(format, fill, 100);
    }
  }
  return works;
}

function packedBodies(): Record<string, Work> {
  const inputs: Record<string, (size: number) => Buffer> = {
    "line ends": (size) => Buffer.alloc(size, "\n"),
    noise: (size) => Buffer.from(Uint8Array.from({ length: size }, (_, i) => (i * 7919) % 251)),
  };
  const works: Record<string, Work> = {};
  for (const [what, make] of Object.entries(inputs)) {
    for (const [encoding, pack] of [
      ["gzip", gzipSync],
      ["zstd", zstdCompressSync],
    ] as const) {
      works[`${encoding} of ${what}`] = {
        maxBytes: BODY_MAX_BYTES,
        prepare: (size) => {
          const packed = Buffer.from(pack(make(size)));
          return () => unpack(packed, encoding);
        },
        isInPool: true,
      };
    }
  }
  const EMPTY_FRAME = Buffer.from(zstdCompressSync(Buffer.alloc(0)));
  const SKIPPABLE_FRAME = Buffer.from("502a4d1800000000", "hex");
  const EMPTY_MEMBER = gzipSync(Buffer.alloc(0));
  for (const [what, frame, encoding] of [
    ["empty frames", EMPTY_FRAME, "zstd"],
    ["frames to be skipped", SKIPPABLE_FRAME, "zstd"],
    ["empty members", EMPTY_MEMBER, "gzip"],
  ] as const) {
    works[`${encoding} of ${what}`] = {
      maxBytes: BODY_MAX_BYTES,
      prepare: (size) => {
        const bytes = Buffer.concat(Array(Math.ceil(size / frame.length)).fill(frame));
        return () => unpack(bytes, encoding);
      },
      isInPool: true,
    };
  }
  return works;
}

function events(): Record<string, Work> {
  const works: Record<string, Work> = {};
  for (const [what, fill] of Object.entries(EVENT_FILLINGS)) {
    works[`why an event is refused: ${what}`] = {
      maxBytes: EVENT_MAX_CHARS,
      prepare: (size) => {
        const text = fill(size);
        const value = JSON.parse(text);
        return () => eventOf(value, 0, TIMES) ?? whatIsWrongWith(value, text, TIMES);
      },
    };
  }
  return works;
}

function attempt(work: () => unknown): () => unknown {
  return () => {
    try {
      return work();
    } catch (error) {
      return error;
    }
  };
}

/** Each function gets each text, as long as the head of a request may be. */
function heads(
  readers: Readonly<Record<string, (text: string) => unknown>>,
  fillings: Readonly<Record<string, (size: number) => string>>,
): Record<string, Work> {
  const works: Record<string, Work> = {};
  for (const [who, read] of Object.entries(readers)) {
    for (const [what, fill] of Object.entries(fillings)) {
      works[`${who}: ${what}`] = {
        maxBytes: HEAD_MAX_BYTES,
        prepare: (size) => {
          const text = fill(size);
          return attempt(() => read(text));
        },
      };
    }
  }
  return works;
}

const numbered = (unit: (i: number) => string) => (size: number) =>
  Array.from({ length: Math.ceil(size / (unit(1_000).length + 1)) }, (_, i) => unit(i)).join("&");

const QUERIES: Readonly<Record<string, (size: number) => string>> = {
  "names without values": numbered((i) => `n${i}`),
  "names with values": numbered((i) => `n${i}=1`),
  "names with encoded values": numbered((i) => `n${i}=%41+`),
  "names that are badly encoded": (size) => repeated("%&", size),
  "one name again and again": (size) => repeated("to&", size),
  ampersands: (size) => repeated("&", size),
  "equals signs": (size) => repeated("=", size),
  "question marks": (size) => repeated("?", size),
  "plus signs": (size) => `user=${repeated("+", size)}`,
  "percent signs": (size) => `user=${repeated("%", size)}`,
  "encoded characters": (size) => `user=${repeated("%C3%A9", size)}`,
  "good parameters and a long user": (size) => `timestamp=${NOW}&click&user=${"u".repeat(size)}`,
  "a long stream": (size) => `timestamp=${NOW}&user=u&click&stream=${repeated("a.", size)}`,
  "a long time": (size) => `from=${repeated("2026-01-31T", size)}`,
  "a long zone": (size) => `from=2026-01-31&tz=${repeated("Etc/", size)}`,
  "a long number": (size) => `timestamp=${repeated("1", size)}&user=u&click`,
};

const QUERY_READERS: Readonly<Record<string, (query: string) => unknown>> = {
  "an event's query": (query) => readEvent(`http://h/analytics?${query}`, NOW),
  "an hour's query": (query) => readHourQuery(`http://h/analytics?${query}`, NOW),
  "a query taken apart": (query) => queryOf(`http://h/beacon?${query}`),
  "a series' query": (query) => {
    const parameters = readQuery(`http://h/series?${query}`, SeriesQuerySchema);
    return periodOf(parameters, NOW, 0, HOURS_OF_ZONE);
  },
  "a query of streams": (query) => {
    const parameters = readQuery(`http://h/streams?${query}`, StreamsQuerySchema);
    return periodOf(parameters, NOW, 24, UTC_HOURS);
  },
  "a redirect's query": (query) => {
    const targets = new RedirectTargets({ redirectSecret: "secret", redirectOrigins: ["https://a.example"] });
    const link = linkQueryOf(`http://h/r?${query}`, new Set(["to", "sig", "stream"]));
    return targets.allowed(link.query, link.faults);
  },
};

const HEADER_VALUES: Readonly<Record<string, (size: number) => string>> = {
  commas: (size) => repeated(",", size),
  "commas and blanks": (size) => repeated(", ", size),
  semicolons: (size) => `application/json${repeated(";", size)}`,
  "semicolons and blanks": (size) => `application/json${repeated("; ", size)}`,
  blanks: (size) => `text/csv${repeated(" ", size)}x`,
  quotes: (size) => `text/csv;a="${repeated(',"', size)}`,
  "escaped quotes": (size) => repeated('"\\",', size),
  "media types": (size) => repeated("text/csv;q=0.1,", size),
  weights: (size) => `text/csv${repeated(";q=1", size)}`,
  digits: (size) => `text/csv;q=0.${repeated("0", size)}x`,
  gzip: (size) => repeated("gzip ;q=0 ", size),
  "weak tags": (size) => repeated("W/", size),
  "entity tags": (size) => repeated('W/"a", ', size),
  dashes: (size) => `00-${"a".repeat(32)}-${"b".repeat(16)}-00${repeated("-", size)}`,
  addresses: (size) => repeated("203.0.113.7, ", size),
  "addresses of IPv6": (size) => repeated("2001:db8::7, ", size),
  colons: (size) => repeated(":", size),
  dots: (size) => repeated("1.", size),
  brackets: (size) => repeated("[", size),
  letters: (size) => repeated("a", size),
  "names of browsers": (size) => repeated("Mozilla/5.0 (X11; Linux) ", size),
  "names of bots": (size) => repeated("compatible; x", size),
};

const SILENT = { info: () => {}, warn: () => {}, error: () => {} };
const ADDRESSES = new ClientAddresses(1, SILENT);
const PEERS = { requestIP: () => ({ address: "192.0.2.1" }) };

const HEADER_READERS: Readonly<Record<string, (value: string) => unknown>> = {
  "content-type": (value) => formatOf(value),
  "content-encoding": (value) => encodingOf(value),
  accept: (value) => preferredFormat(value, ["json", "csv", "text"]),
  "if-none-match": (value) => matches(value, '"x"'),
  "x-forwarded-for": (value) => {
    const headers = new Headers({ "x-forwarded-for": value });
    return ADDRESSES.of({ headers } as Request, PEERS);
  },
  "x-request-id": (value) => traceOf(new Headers({ "x-request-id": value })),
  traceparent: (value) => traceOf(new Headers({ traceparent: value })),
  "user-agent": (value) => isbot(value),
  "an address": (value) => networkOf(value),
  "a pattern of streams": (value) => isStreamGrant(value) && new StreamSet([value]).has(value),
};

const TARGETS: Readonly<Record<string, (size: number) => string>> = {
  dots: (size) => `https://a.example/${repeated("../", size)}`,
  slashes: (size) => `https:${repeated("/", size)}`,
  backslashes: (size) => `https:${repeated("\\", size)}`,
  "at signs": (size) => `https://${repeated("@", size)}`,
  "percent signs": (size) => `https://${repeated("%", size)}`,
  "labels of a host": (size) => `https://${repeated("a.", size)}`,
  "labels in other scripts": (size) => `https://${repeated("é.", size)}`,
  "a port": (size) => `https://a.example:${repeated("0", size)}80/`,
  "tabs and line ends": (size) => `https://a.example/${repeated("\t\n", size)}`,
  blanks: (size) => `${repeated(" ", size)}https://a.example/`,
  scheme: (size) => repeated("https:", size),
};

const LAYOUTS: Readonly<Record<string, Layout>> = {
  log: { format: "log" } as Layout,
  csv: { format: "csv", columns: ["timestamp", "user", "event"] } as unknown as Layout,
  ndjson: { format: "ndjson" } as Layout,
  "csv with semicolons": {
    format: "csv",
    columns: ["timestamp", "user", "event"],
    separator: ";",
  } as unknown as Layout,
  json: { format: "json" } as Layout,
  alb: { format: "alb" } as Layout,
  w3c: { format: "w3c", columns: ["date", "time", "c-ip"] } as unknown as Layout,
  custom: { format: "custom" } as Layout,
};

const LOG_START = '1.2.3.4 - - [31/Jan/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 17';
const LINES: Readonly<Record<string, (size: number) => string>> = {
  ...FILLINGS,
  ...EVENT_FILLINGS,
  "a log line with a long request": (size) => LOG_START.replace("GET /", () => `GET /${repeated(QUOTES, size)}`),
  "a log line with a referrer that does not end": (size) => `${LOG_START} "${repeated(QUOTES, size)}`,
  "a log line with many texts": (size) => `${LOG_START} ${repeated('"a" ', size)}`,
  "a log line with blanks": (size) => `${LOG_START}${repeated(" ", size)}`,
  "a log line with a long time": (size) => `1.2.3.4 - - [${repeated("1", size)}`,
  "a log line with a long address": (size) => `${repeated("1", size)} - - [`,
  "a log line with many addresses": (size) => `${repeated("1, ", size)} - - [`,
  "a log line with many times": (size) => repeated("[31/Jan/2026:12:00:00 +0000] ", size),
  "a load balancer's line with a long request": (size) =>
    `h2 2026-05-17T10:05:03Z a 1.2.3.4:5 b 0 0 0 200 200 5 1 "${repeated(QUOTES, size)}`,
  "a record of quoted fields": (size) => repeated('"a",', size),
  "a record of doubled quotes": (size) => `"${repeated('""', size)}`,
  "a record of fields with quotes inside": (size) => repeated('a"b,', size),
};

const logFormat = '$remote_addr [$time_local] "$request" $status "$http_referer" "$http_user_agent"';

function records(): Record<string, Work> {
  const works: Record<string, Work> = {};
  for (const [name, layout] of Object.entries(LAYOUTS)) {
    const read = eventReader(layout, {
      stream: "default",
      logKind: "referrer",
      isIdNew: true,
      earliest: 0,
      logFormat,
    });
    for (const [what, fill] of Object.entries(LINES)) {
      works[`an imported line, ${name}: ${what}`] = {
        maxBytes: RECORD_MAX_BYTES,
        prepare: (size) => {
          const text = fill(size).replaceAll("\n", " ");
          return attempt(() => read(text, "id", NOW));
        },
      };
    }
  }
  for (const [what, fill] of Object.entries(LINES)) {
    works[`fields of CSV: ${what}`] = {
      maxBytes: RECORD_MAX_BYTES,
      prepare: (size) => {
        const text = fill(size);
        return () => csvFields(text);
      },
    };
  }
  return works;
}

function splitting(): Record<string, Work> {
  const works: Record<string, Work> = {};
  for (const isCsv of [false, true]) {
    for (const [what, fill] of Object.entries(FILLINGS)) {
      works[`a content, ${isCsv ? "CSV" : "lines"}, of ${what}`] = {
        maxBytes: BODY_MAX_BYTES,
        prepare: (size) => {
          const bytes = Buffer.from(fill(size));
          return () => {
            const splitter = new RecordSplitter({ offset: 0, line: 1 }, isCsv);
            let count = 0;
            for (let at = 0; at < bytes.length; at += 65_536) {
              for (const _ of splitter.split(bytes.subarray(at, at + 65_536))) count += 1;
            }
            for (const _ of splitter.split(undefined)) count += 1;
            return count;
          };
        },
      };
    }
  }
  return works;
}

function messages(): Record<string, Work> {
  const works: Record<string, Work> = {};
  const hostile = {
    ...FILLINGS,
    "one event with a member twice": EVENT_FILLINGS["a long user of escaped quotes, given twice"]!,
  };
  for (const contentType of ["application/x-ndjson", "application/json"]) {
    for (const [what, fill] of Object.entries(hostile)) {
      works[`a message, ${contentType}, of ${what}`] = {
        maxBytes: BODY_MAX_BYTES,
        prepare: (size) => {
          const message = {
            id: "m",
            contentType,
            contentEncoding: undefined,
            body: new MessageBody(Buffer.from(fill(size))),
          };
          const options = { origin: "queue", now: NOW, earliest: 0, defaultAt: undefined, admits: () => true };
          return () => readMessage(message, options);
        },
      };
    }
  }
  return works;
}

const GROUPS: Readonly<Record<string, Record<string, Work>>> = {
  bodies: bodies(),
  "packed bodies": packedBodies(),
  events: events(),
  messages: messages(),
  queries: heads(QUERY_READERS, QUERIES),
  headers: heads(HEADER_READERS, HEADER_VALUES),
  "redirect targets": heads(
    {
      target: (to) =>
        new RedirectTargets({ redirectSecret: "secret", redirectOrigins: ["https://a.example"] }).allowed(
          { to, sig: to },
          new Map(),
        ),
    },
    TARGETS,
  ),
  "imported lines": records(),
  "imported contents": splitting(),
};

for (const [group, works] of Object.entries(GROUPS)) {
  describe(`linear in the size of its input, ${group}`, () => {
    test(`${Object.keys(works).length} kinds of hostile input`, async () => {
      const found: string[] = [];
      for (const [what, work] of Object.entries(works)) if (!(await isLinear(work))) found.push(what);
      expect(found).toEqual([]);
    });
  });
}

test("a parser that scans the rest of its input for each line is found", async () => {
  const countRest = (text: string) => {
    let blanks = 0;
    for (let at = 0; at < text.length; at++) for (let i = at; i < text.length; i++) if (text[i] === " ") blanks += 1;
    return blanks;
  };
  // On a busy machine the compiler comes late, and would make larger inputs seem cheap beside the first.
  while (numberOfDFGCompiles(countRest) === 0) countRest("\n".repeat(256));
  const work = { maxBytes: HEAD_MAX_BYTES, prepare: (size: number) => () => countRest("\n".repeat(size)) };
  expect(await isLinear(work)).toBe(false);
});

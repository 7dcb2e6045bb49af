/** The fast reader of a query accepts what schema and rules accept, and reports the same faults. */
import { describe, expect, test } from "bun:test";
import { Value } from "@sinclair/typebox/value";
import fc from "fast-check";
import { DAY_MS, hourOf } from "../../../src/domain/event.ts";
import { type HourQuery, readEvent, readHourQuery } from "../../../src/protocol/event/from-query.ts";
import { EventQuerySchema, HourQuerySchema, OLDEST_MS } from "../../../src/protocol/event/query-rules.ts";
import { InvalidParameterError } from "../../../src/protocol/input-error.ts";
import { MalformedQueryError } from "../../../src/protocol/query-string.ts";

/** A clock that stands still. */
const NOW = 1_790_000_000_123;
const RUNS = { numRuns: 5_000 };

type Parameters = Readonly<Record<string, string>>;

/** The query by the letter of the URL standard and of RFC 3629; undefined if it is not well-formed. */
function parametersOf(query: string): Parameters | undefined {
  const pairs = query.split("&").filter((pair) => pair !== "");
  const decoded = pairs.map((pair) => {
    const [name = "", ...value] = pair.split("=");
    return [decodedByBytes(name), decodedByBytes(value.join("="))] as const;
  });
  const names = new Set(decoded.map(([name]) => name));
  const isWhole = decoded.every(([name, value]) => name !== undefined && value !== undefined);
  if (!isWhole || names.size < decoded.length) return undefined;
  return Object.fromEntries(decoded) as Parameters;
}

function decodedByBytes(text: string): string | undefined {
  if (/%(?![0-9A-Fa-f]{2})/.test(text)) return undefined;
  const bytes = Array.from(text.replaceAll("+", " ").matchAll(/%(..)|[^%]/gs), ([unit, hex]) =>
    hex === undefined ? unit.charCodeAt(0) : Number.parseInt(hex, 16),
  );
  try {
    const decoded = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes));
    return decoded.includes("\uFFFD") ? undefined : decoded;
  } catch {
    return undefined;
  }
}

const ISO: Readonly<Record<string, bigint | undefined>> = {
  "2026-01-31T12:30:00Z": BigInt(Date.UTC(2026, 0, 31, 12, 30)),
  "2026-01-31T12:30:00.25 01:00": BigInt(Date.UTC(2026, 0, 31, 11, 30, 0, 250)),
  "2026-01-31T00-0030": BigInt(Date.UTC(2026, 0, 31, 0, 30)),
  "9998-01-31T12:30:00Z": BigInt(Date.UTC(9998, 0, 31, 12, 30)),
  "2026-02-30T12:30:00Z": undefined,
  "2026-01-31T24:00:00Z": undefined,
};

function isTimely(timestamp: string | undefined): boolean {
  if (timestamp === undefined) return true;
  const at = Object.hasOwn(ISO, timestamp) ? ISO[timestamp] : BigInt(timestamp);
  return at !== undefined && at <= BigInt(NOW) + 24n * 60n * 60n * 1_000n;
}

function timeIn(timestamp: string | undefined): number {
  return timestamp === undefined ? NOW : Number(ISO[timestamp] ?? timestamp);
}

function bytesIn(text: string): number {
  return new TextEncoder().encode(text).length;
}

/** The names of the parameters that an event is refused for; empty if it has to be taken. */
function faultsOfEvent(parameters: Parameters): Set<string> {
  const faults = faultsBySchema(EventQuerySchema, parameters);
  const { timestamp, user = "", id = "" } = parameters;
  if (!faults.has("timestamp") && !isTimely(timestamp)) faults.add("timestamp");
  if (bytesIn(user) > 255) faults.add("user");
  if (bytesIn(id) > 255) faults.add("id");
  const kinds = ["click", "impression", "event"].filter((kind) => Object.hasOwn(parameters, kind));
  if (kinds.length !== 1) faults.add("event");
  return faults;
}

function faultsBySchema(schema: typeof EventQuerySchema | typeof HourQuerySchema, parameters: Parameters): Set<string> {
  const faults = new Set(Array.from(Value.Errors(schema, parameters), ({ path }) => path.slice(1)));
  expect(faults.size === 0).toBe(Value.Check(schema, parameters));
  return faults;
}

/** The result, or the parameter that was refused. */
interface Outcome<T> {
  readonly taken?: T;
  readonly malformed?: string;
  readonly invalid?: string;
}

function outcomeOf<T>(read: () => T): Outcome<T> {
  try {
    return { taken: read() };
  } catch (error) {
    if (error instanceof MalformedQueryError) return { malformed: error.field! };
    if (error instanceof InvalidParameterError) return { invalid: error.field! };
    throw error;
  }
}

const anyText = fc.string({ unit: "binary", maxLength: 90 });
/** Around the bounds of 255 bytes, in characters of every width. */
const longText = fc
  .tuple(fc.constantFrom("a", "é", "€", "😀"), fc.integer({ min: 50, max: 260 }), fc.constantFrom("", "b", "é"))
  .map(([unit, length, end]) => unit.repeat(Math.ceil(length / Buffer.byteLength(unit))) + end);
/** Bytes as they may come over a wire, percent-encoded, UTF-8 or not. */
const anyBytes = fc
  .array(fc.constantFrom("%", "%C3", "%A9", "%ff", "%EF%BF%BD", "%00", "+", "=", "a", "%2", "%26"), {
    maxLength: 6,
  })
  .map((parts) => parts.join(""));
const timestampText = fc.oneof(
  fc.integer({ min: 0, max: NOW + 86_400_000 }).map(String),
  fc.integer({ min: NOW + 86_399_998, max: NOW + 86_400_003 }).map(String),
  fc.bigInt({ min: -10n, max: 10n ** 18n }).map(String),
  fc.constantFrom(
    "0",
    "00",
    "01",
    "-0",
    "1.0",
    "1e3",
    "0x1",
    " 1",
    "1 ",
    "",
    "NaN",
    "9".repeat(15),
    "9".repeat(16),
    "2026-01-31",
    "2026-01-31T12:30:00",
    ...Object.keys(ISO),
  ),
);

/** Mostly right, so that a single fault decides. */
function mostly(right: fc.Arbitrary<string>, wrong: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc.oneof({ weight: 4, arbitrary: right }, { weight: 1, arbitrary: wrong });
}

const encoded = (text: fc.Arbitrary<string>) => text.map(encodeURIComponent);
const pair = (name: string, value: fc.Arbitrary<string>) => value.map((text) => `${name}=${text}`);
/** Any printable characters, unencoded: some need encoding, or have a meaning. */
const plainText = fc.oneof(
  fc.stringMatching(/^[!-~]{1,12}$/),
  fc.integer({ min: 253, max: 258 }).map((length) => "u".repeat(length)),
);
const rightUser = fc.oneof(
  encoded(fc.string({ unit: "binary", minLength: 1, maxLength: 60 })),
  fc.stringMatching(/^[\w.~:@/?=-]{1,60}$/),
);
const anyValue = fc.oneof(encoded(anyText), encoded(longText), anyBytes, plainText);
const rightTimestamp = fc.integer({ min: 0, max: NOW + 86_400_000 }).map(String);
const timestampPair = pair("timestamp", mostly(rightTimestamp, encoded(timestampText)));
const streamPair = pair(
  "stream",
  mostly(fc.stringMatching(/^[A-Za-z0-9._-]{1,64}$/), fc.oneof(anyValue, fc.constant("s".repeat(65)))),
);
const kinds = ["click", "click=", "impression", "impression=", "event=click", "event=impression"];
const badKinds = ["", "click=1", "impression=0", "event=", "event=view", "event"];
const kindPair = mostly(
  fc.constantFrom(...kinds),
  fc.oneof(
    fc.constantFrom(...badKinds),
    fc.tuple(fc.constantFrom(...kinds), fc.constantFrom(...kinds, ...badKinds)).map((two) => two.join("&")),
  ),
);
const otherPair = fc.oneof(
  fc.constant(""),
  anyValue.map((text) => `${text}=1`),
  fc.constantFrom("foo=1", "__proto__=1", "toString", "=", "=1", "Click", "user=b", "id=1&id=2", "t%69mestamp=1"),
);

function queries(parts: fc.Arbitrary<string>[]): fc.Arbitrary<string> {
  const nearlyRight = fc
    .tuple(...parts)
    .chain((pairs) => fc.shuffledSubarray(pairs, { minLength: pairs.length }))
    .map((pairs) => pairs.filter((text) => text !== "").join("&"));
  const pieces = fc.oneof(...parts, otherPair, anyBytes, encoded(anyText));
  const wild = fc.array(pieces, { maxLength: 8 }).map((some) => some.join("&"));
  return fc.oneof({ weight: 4, arbitrary: nearlyRight }, { weight: 1, arbitrary: wild });
}

const sometimes = (arbitrary: fc.Arbitrary<string>) => mostly(fc.constant(""), arbitrary);

const eventQueries = queries([
  timestampPair,
  pair("user", mostly(rightUser, anyValue)),
  kindPair,
  fc.oneof(fc.constant(""), streamPair),
  fc.oneof(fc.constant(""), pair("id", mostly(rightUser, anyValue))),
  sometimes(otherPair),
]);
const hourQueries = queries([timestampPair, fc.oneof(fc.constant(""), streamPair), sometimes(otherPair)]);

describe("the fast reading of a query", () => {
  test("accepts exactly the events that schema and rules accept, and blames a parameter that is wrong", () => {
    let taken = 0;
    const property = fc.property(eventQueries, (query) => {
      const outcome = outcomeOf(() => readEvent(`http://localhost/analytics?${query}`, NOW));
      const parameters = parametersOf(query);
      if (parameters === undefined) return expect(outcome.malformed).toBeString();
      const faults = faultsOfEvent(parameters);
      if (faults.size > 0) return expect(faults).toContain(outcome.invalid ?? "nothing");
      const { timestamp, user, stream = "default", id, event } = parameters as Record<string, string>;
      const kind = event ?? (parameters["click"] === "" ? "click" : "impression");
      expect<object>(outcome).toEqual({ taken: { at: timeIn(timestamp), user, stream, id, kind } });
      taken += 1;
    });
    fc.assert(property, RUNS);
    // A generator that hardly ever makes a good query would prove nothing.
    expect(taken).toBeGreaterThan(RUNS.numRuns / 20);
  });

  test("accepts exactly the hours that schema and rules accept, and blames a parameter that is wrong", () => {
    let taken = 0;
    const property = fc.property(hourQueries, (query) => {
      const outcome = outcomeOf(() => readHourQuery(`http://localhost/analytics?${query}`, NOW));
      const parameters = parametersOf(query);
      if (parameters === undefined) return expect(outcome.malformed).toBeString();
      const faults = faultsBySchema(HourQuerySchema, parameters);
      if (!faults.has("timestamp") && !isTimely(parameters["timestamp"])) faults.add("timestamp");
      if (faults.size > 0) return expect(faults).toContain(outcome.invalid ?? "nothing");
      const { timestamp, stream = "default", format } = parameters;
      const expected = { stream, hour: hourOf(timeIn(timestamp)), format };
      expect(outcome).toEqual({ taken: expected as HourQuery });
      taken += 1;
    });
    fc.assert(property, RUNS);
    expect(taken).toBeGreaterThan(RUNS.numRuns / 20);
  });

  test("an hour is refused with the text of its rule, whatever is wrong with the time", () => {
    const read = (text: string) => readHourQuery(`http://localhost/analytics?timestamp=${text}`, NOW);
    for (const text of ["1", "2000-01-01T00:00:00Z"]) expect(read(text).hour).toBeLessThan(OLDEST_MS);
    for (const text of ["x", "-1", "2000-01-01", "99999999999999"]) {
      expect(() => read(text)).toThrow(`expected ${HourQuerySchema.properties.timestamp.description}`);
      expect(() => read(text)).toThrow("from 0 to 24 hours from now");
    }
  });

  test("an event without a time is refused while the clock is behind the retained rows", () => {
    for (const query of ["/analytics?user=a&click", "/analytics?user=%61&click", "/analytics?click&user=a&id=1"]) {
      expect(readEvent(query, NOW, NOW).at).toBe(NOW);
      expect(() => readEvent(query, NOW, NOW + 1)).toThrow(`timestamp: got "${NOW}", expected`);
    }
  });

  test("a day ahead is the last millisecond that is accepted", () => {
    const read = (at: number) => readEvent(`http://localhost/analytics?timestamp=${at}&user=foo&click`, NOW);
    expect(read(NOW + DAY_MS).at).toBe(NOW + DAY_MS);
    expect(() => read(NOW + DAY_MS + 1)).toThrow("24 hours from now");
    const readKey = (at: number) => readHourQuery(`http://localhost/analytics?timestamp=${at}`, NOW);
    expect(readKey(NOW + DAY_MS).hour).toBe(hourOf(NOW + DAY_MS));
    expect(() => readKey(NOW + DAY_MS + 1)).toThrow("24 hours from now");
  });
});

/** The fast reader of events in a body accepts what JSON.parse and the rules accept, and finds the same lines. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { LineScan, quoteCountOf } from "../../../src/protocol/body/pieces.ts";
import { eventOf, plainEvent, whatIsWrongWith } from "../../../src/protocol/event/from-object.ts";

const NOW = 1_790_000_000_123;
const RULES = { now: NOW, earliest: 1_000_000, defaultAt: NOW };
const RUNS = { numRuns: 5_000 };

const space = fc.constantFrom("", "", "", " ", "  ", "\t", "\n", "\r\n", "\u00a0");
const name = fc.constantFrom("timestamp", "user", "event", "stream", "id", "id", "users", "USER", "", "us\\u0065r");
const value = fc.oneof(
  fc.constantFrom(
    '"click"',
    '"impression"',
    '"clicks"',
    '"a.b"',
    '"default"',
    '"é"',
    '""',
    '"\u007f"',
    '"\\""',
    '"a\\\\b"',
    '"\\/"',
    "null",
  ),
  fc.constantFrom("0", "00", "-1", "1e3", "1.0", "12345678901234567", "999999", "1000000", String(NOW + 86_400_001)),
  fc.integer({ min: 0, max: NOW + 86_400_000 }).map(String),
  fc.string({ unit: "binary", maxLength: 300 }).map((text) => JSON.stringify(text)),
);
const member = fc.tuple(name, space, space, value, space).map(([key, a, b, of, c]) => `"${key}"${a}:${b}${of}${c}`);
const known = fc
  .record(
    { user: value, event: fc.constantFrom('"click"', '"impression"'), timestamp: value },
    { requiredKeys: ["user"] },
  )
  .map((members) => Object.entries(members).map(([key, of]) => `"${key}":${of}`));
const object = fc
  .tuple(space, known, fc.array(member, { maxLength: 3 }), space, fc.constantFrom("", "", "", ",", "}", "x", " "))
  .map(([before, some, others, after, end]) => `${before}{${after}${[...some, ...others].join(`,${after}`)}}${end}`);
const cut = fc.tuple(object, fc.nat(80)).map(([text, length]) => text.slice(0, length));

function byJson(text: string) {
  try {
    return eventOf(JSON.parse(text), quoteCountOf(text), RULES);
  } catch {
    return undefined;
  }
}

test("a plain event is read as JSON.parse and the rules read it, or not at all", () => {
  fc.assert(
    fc.property(fc.oneof(object, object, cut), fc.constantFrom("", "[", '{"user":'), (text, before) => {
      // Nothing around it may make a difference.
      const read = plainEvent(`${before}${text}}"\n`, before.length, before.length + text.length, RULES);
      if (read !== undefined) expect(read).toEqual(byJson(text)!);
    }),
    RUNS,
  );
});

test("an event without escapes is plain, in any order and with any space", () => {
  const text = fc.string({
    unit: fc.constantFrom("a", "Z", "0", " ", "{", ",", ":", "~"),
    minLength: 1,
    maxLength: 255,
  });
  const event = fc.record(
    {
      timestamp: fc.integer({ min: 1_000_000, max: NOW }),
      user: text,
      event: fc.constantFrom("click", "impression"),
      stream: fc.constantFrom("default", "a", "site.b"),
      id: text,
    },
    { requiredKeys: ["user", "event"] },
  );
  fc.assert(
    fc.property(event, fc.constantFrom("", " ", "\t", "\r\n"), fc.boolean(), (members, blank, isReversed) => {
      const entries = Object.entries(members).map(([key, of]) => `"${key}":${blank}${JSON.stringify(of)}`);
      const line = `${blank}{${blank}${(isReversed ? entries.reverse() : entries).join(`,${blank}`)}${blank}}${blank}`;
      const read = plainEvent(line, 0, line.length, RULES);
      expect(read).toEqual(byJson(line)!);
    }),
    RUNS,
  );
});

test("an event without a time is refused while the clock is behind the retained rows", () => {
  const text = '{"user":"a","event":"click"}';
  const read = (earliest: number) => plainEvent(text, 0, text.length, { ...RULES, earliest });
  expect(read(NOW)?.at).toBe(NOW);
  expect(read(NOW + 1)).toBeUndefined();
  const fault = whatIsWrongWith(JSON.parse(text), text, { ...RULES, earliest: NOW + 1 });
  expect(fault.message).toStartWith(`timestamp: got "${NOW}", expected`);
  const ofMessage = whatIsWrongWith(JSON.parse(text), text, { ...RULES, defaultAt: undefined });
  expect(ofMessage.message).toStartWith("timestamp: is missing");
});

test("lines are those between line feeds, whatever the steps of the scan", () => {
  const body = fc.string({ unit: fc.constantFrom("\n", " ", "\r", "a", '"', "\\"), maxLength: 30 });
  fc.assert(
    fc.property(body, fc.integer({ min: 1, max: 40 }), (text, step) => {
      const scan = new LineScan(text, 100, 100);
      while (scan.advance(step));
      const { indexes, starts, ends } = scan.pieces;
      const found = indexes.map((index, i) => [index, text.slice(starts[i], ends[i])]);
      const lines = Array.from(text.split("\n").entries()).filter(([, line]) => /[^ \r\t]/.test(line));
      expect(found).toEqual(lines);
    }),
    RUNS,
  );
});

/** An array of events is read the same whether its elements are plain, and need no scan, or not. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { EVENTS_MAX } from "../../../src/protocol/body/limits.ts";
import { type EventBatch, readEvents, readEventsAtOnce } from "../../../src/protocol/body/read-events.ts";
import { RefusedBodyError } from "../../../src/protocol/body/refused-body.ts";

const NOW = 1_790_000_000_123;
const OPTIONS = {
  ...{ now: NOW, earliest: 1_000_000, defaultAt: NOW, format: "array" as const, invalidMaxListed: 1_000 },
  admits: (stream: string) => stream !== "one-too-many",
};
/** Characters: more than are read between two looks at the clock. */
const SEVERAL_SLICES = 3 * 32_768;
const RUNS = { numRuns: 2_000 };

const space = fc.constantFrom("", "", "", " ", "\n", "\t ");
const stream = fc.constantFrom("", ',"stream":"shop"', ',"stream":"one-too-many"', ',"stream":"not allowed"');
const plain = fc
  .tuple(space, fc.nat(1_000), fc.constantFrom("click", "impression"), stream, space)
  .map(([before, user, kind, more, after]) => `${before}{"user":"u${user}","event":"${kind}"${more}}${after}`);
const other = fc.constantFrom(
  ...['{"user":"\\u0061","event":"click"}', '{"user":"a","event":"clicks"}', '{"user":"[{,","event":"click"}'],
  ...["", " ", "7", "null", '"text"', "[1,2]", "[{}]", '{"user":{"a":[1,2]}}', '{"user":"a"', '"', "}", "]", "\\"],
  `{"user":"a","event":"click"${" ".repeat(16_384)}}`,
);
const element = fc.oneof({ arbitrary: plain, weight: 5 }, { arbitrary: other, weight: 1 });
const end = fc.constantFrom("]", "]", "]", "] \n", ",]", "", "]]", "] x", "}");
const body = fc
  .tuple(space, fc.constantFrom("[", "[", "[", "", "{"), fc.array(element, { maxLength: 12 }), end)
  .map(([before, open, elements, close]) => `${before}${open}${elements.join(",")}${close}`);

function resultOf(read: () => EventBatch): unknown {
  try {
    const { events, indexes, invalid, invalidCount } = read();
    return {
      events,
      indexes,
      invalidCount,
      invalid: invalid.map(({ index, text, error }) => ({ index, text, error })),
    };
  } catch (error) {
    if (error instanceof RefusedBodyError) return { status: error.status, body: error.body };
    throw error;
  }
}

/** An element that is not plain comes first, so each one is found by a scan. Counted back to the elements of `text`. */
function scanned(text: string): unknown {
  const first = '{"user":"\\u0061","event":"click"},';
  const result = resultOf(() => readEventsAtOnce(text.replace("[", `[${first}`), OPTIONS)) as Record<string, unknown>;
  if ("status" in result)
    return JSON.parse(JSON.stringify(result).replace(/element (\d+)/, (_, index) => `element ${index - 1}`));
  const { events, indexes, invalid, invalidCount } = result as unknown as EventBatch;
  const back = <T extends { index: number }>(each: T) => ({ ...each, index: each.index - 1 });
  return {
    events: events.slice(1),
    indexes: indexes.slice(1).map((i) => i - 1),
    invalidCount,
    invalid: invalid.map(back),
  };
}

test("plain elements are read as a scan would have found them", () => {
  const isArray = (text: string) => /^\s*\[(?!\s*\])/.test(text);
  fc.assert(
    fc.property(body.filter(isArray), (text) => {
      const read = resultOf(() => readEventsAtOnce(text, OPTIONS));
      expect(JSON.parse(JSON.stringify(read))).toEqual(JSON.parse(JSON.stringify(scanned(text))));
    }),
    RUNS,
  );
});

test("a long array is read whole, wherever its text is divided", async () => {
  for (const padding of ["", " ", "  ", "   ", "\n".repeat(61)]) {
    const one = `${padding}{"user":"u","event":"click","timestamp":1790000000000}`;
    const count = Math.ceil(SEVERAL_SLICES / one.length);
    for (const last of ["]", `,{"user":"\\u0061","event":"click"}]`, `,7]`]) {
      const text = `[${new Array(count).fill(one).join(",")}${last}`;
      const { events, indexes, invalid } = await readEvents(text, OPTIONS);
      const expected = count + (last.includes("user") ? 1 : 0);
      expect([events.length, indexes.at(-1)]).toEqual([expected, expected - 1]);
      expect(invalid.map(({ index }) => index)).toEqual(last.includes("7") ? [count] : []);
    }
  }
});

test.each([
  ["as many as may be", EVENTS_MAX, false],
  ["one more", EVENTS_MAX + 1, true],
])("the limit of events: %s", (_, count, isRefused) => {
  const text = `[${new Array(count).fill('{"user":"u","event":"click"}').join(",")}]`;
  const read = () => readEventsAtOnce(text, OPTIONS).events.length;
  if (isRefused) expect(read).toThrow(`more than ${EVENTS_MAX} events`);
  else expect(read()).toBe(count);
});

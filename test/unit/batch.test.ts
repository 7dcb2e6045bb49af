import { expect, test } from "bun:test";
import fc from "fast-check";
import { type Event, encodeBatch, HOUR_MS, PackedBatch, readEntry, withoutDuplicates } from "../../src/domain/event.ts";
import { batchOf } from "../harness/pipeline/batches.ts";

const events: fc.Arbitrary<Event[]> = fc.array(
  fc.record({
    stream: fc.constantFrom("default", "shop", "a.b-c_d"),
    at: fc.nat({ max: 3 * HOUR_MS }),
    kind: fc.constantFrom("click", "impression"),
    user: fc.string({ unit: "binary", minLength: 1 }).map((text) => text.toWellFormed()),
    id: fc.option(fc.string({ minLength: 1 }), { nil: undefined }),
  }),
  { maxLength: 40 },
);

test("a packed batch holds what was packed, and its text is that of the journal", () => {
  fc.assert(
    fc.property(events, (all) => {
      const batch = batchOf(all);
      const body = encodeBatch(batch);
      const packed = PackedBatch.of(7, batch, []);
      expect(packed.groups).toEqual(batch.groups);
      expect({ seq: packed.seq, eventCount: packed.eventCount }).toEqual({ seq: 7, eventCount: all.length });
      expect(encodeBatch(packed)).toBe(body);
    }),
  );
});

test("packed without its duplicates, a batch holds the others", () => {
  fc.assert(
    fc.property(events, fc.func(fc.boolean()), (all, isDuplicate) => {
      const batch = batchOf(all);
      const duplicates = all.map((_, ordinal) => ordinal).filter((ordinal) => isDuplicate(ordinal));
      const counted = withoutDuplicates(3, batch, duplicates);
      const packed = PackedBatch.of(3, batch, duplicates);
      expect(packed.groups).toEqual(counted.groups);
      expect(packed.eventCount).toBe(all.length - duplicates.length);
    }),
  );
});

test("a journal entry is read as the batch that was written, without its duplicates", () => {
  fc.assert(
    fc.property(events, fc.func(fc.boolean()), fc.boolean(), (all, isDuplicate, hasDuplicates) => {
      const batch = batchOf(all);
      const duplicates = all.map((_, ordinal) => ordinal).filter((n) => hasDuplicates && isDuplicate(n));
      const { seq, eventCount, groups } = readEntry(5, encodeBatch(batch), duplicates);
      expect({ seq, eventCount, groups }).toEqual(withoutDuplicates(5, batch, duplicates));
    }),
  );
});

test("an entry of a version that this build does not know is refused", () => {
  const body = encodeBatch(batchOf([])).replace('"v":1', '"v":2');
  expect(() => readEntry(5, body, [])).toThrow("version is 2");
});

test("an encoded batch accepts no more events", () => {
  const event: Event = { stream: "default", at: 1, kind: "click", user: "a", id: undefined };
  const batch = batchOf([event]);
  const body = encodeBatch(batch);
  expect(() => batch.add(event)).toThrow("encoded");
  expect(() => batch.addGroup(batchOf([event]).groups[0]!)).toThrow("encoded");
  expect(encodeBatch(batch)).toBe(body);
  expect(batch.eventCount).toBe(1);
});

import { expect, test } from "bun:test";
import fc from "fast-check";
import type { JournaledBatch } from "../../src/domain/event.ts";
import { RingBuffer, RingRoom } from "../../src/pipeline/flush/flusher.ts";

const ALL = Number.POSITIVE_INFINITY;

function batch(seq: number, eventCount: number): JournaledBatch {
  return { seq, eventCount, groups: [] };
}

function seqs(batches: readonly JournaledBatch[]): number[] {
  return batches.map(({ seq }) => seq);
}

function ringOf(capacityEvents: number, ...batches: readonly JournaledBatch[]): RingBuffer {
  const ring = new RingBuffer(new RingRoom(capacityEvents));
  for (const one of batches) expect(ring.push(one)).toBe(true);
  return ring;
}

/** A model of the ring: an array. */
class Model {
  batches: JournaledBatch[] = [];
  readonly capacityEvents: number;

  constructor(capacityEvents: number) {
    this.capacityEvents = capacityEvents;
  }

  get eventCount(): number {
    return this.batches.reduce((sum, { eventCount }) => sum + eventCount, 0);
  }

  push(one: JournaledBatch): boolean {
    if (this.eventCount + one.eventCount > this.capacityEvents) return false;
    this.batches.push(one);
    return true;
  }

  peek(maxEvents: number, beforeSeq: number): JournaledBatch[] {
    const taken: JournaledBatch[] = [];
    let eventCount = 0;
    for (const one of this.batches.filter(({ seq }) => seq < beforeSeq)) {
      eventCount += one.eventCount;
      if (taken.length > 0 && eventCount > maxEvents) break;
      taken.push(one);
    }
    return taken;
  }
}

type Step = (ring: RingBuffer, model: Model, nextSeq: () => number) => void;

const fractions = fc.double({ min: 0, max: 1, noNaN: true });

/** A seq that is in the ring, or just outside of it. */
function seqAt(model: Model, fraction: number): number {
  const first = model.batches[0]?.seq ?? 1;
  const last = model.batches.at(-1)?.seq ?? 0;
  return first - 1 + Math.round(fraction * (last - first + 2));
}

const pushes = fc.nat(8).map((eventCount): Step => {
  return (ring, model, nextSeq) => {
    const one = batch(nextSeq(), eventCount);
    expect(ring.push(one)).toBe(model.push(one));
  };
});

const peeks = fc.tuple(fc.nat(20), fractions).map(([maxEvents, fraction]): Step => {
  return (ring, model) => {
    const beforeSeq = seqAt(model, fraction);
    expect(seqs(ring.peek(maxEvents, beforeSeq))).toEqual(seqs(model.peek(maxEvents, beforeSeq)));
  };
});

const releases = fractions.map((fraction): Step => {
  return (ring, model) => {
    const through = seqAt(model, fraction);
    ring.releaseThrough(through);
    model.batches = model.batches.filter(({ seq }) => seq > through);
  };
});

const drops = fractions.map((fraction): Step => {
  return (ring, model) => {
    const after = seqAt(model, fraction);
    ring.dropAfter(after);
    model.batches = model.batches.filter(({ seq }) => seq <= after);
  };
});

const clears = fc.constant<Step>((ring, model) => {
  ring.clear();
  model.batches = [];
});

const steps = fc.oneof(
  { arbitrary: pushes, weight: 20 },
  { arbitrary: peeks, weight: 4 },
  { arbitrary: releases, weight: 3 },
  { arbitrary: drops, weight: 1 },
  { arbitrary: clears, weight: 1 },
);

test("a ring is an array of batches with a bound of events", () => {
  const capacities = fc.integer({ min: 1, max: 600 });
  fc.assert(
    fc.property(capacities, fc.array(steps, { maxLength: 400 }), (capacityEvents, sequence) => {
      const room = new RingRoom(capacityEvents);
      const ring = new RingBuffer(room);
      const model = new Model(capacityEvents);
      let seq = 0;
      // With gaps, as a batch that was voided leaves one.
      const nextSeq = () => (seq += seq % 7 === 0 ? 2 : 1);
      for (const step of sequence) {
        step(ring, model, nextSeq);
        expect(ring.eventCount).toBe(model.eventCount);
        expect(ring.isEmpty).toBe(model.batches.length === 0);
        expect(room.usedEvents).toBe(model.eventCount);
        expect(ring.peek(1)[0]?.seq).toBe(model.batches[0]?.seq);
      }
      expect(seqs(ring.peek(ALL))).toEqual(seqs(model.batches));
    }),
    { numRuns: 200 },
  );
});

test("a batch that does not fit is refused, and leaves all as it was", () => {
  const ring = ringOf(10, batch(1, 6), batch(2, 4));
  expect(ring.push(batch(3, 1))).toBe(false);
  expect(seqs(ring.peek(ALL))).toEqual([1, 2]);
  ring.releaseThrough(1);
  expect(ring.push(batch(3, 6))).toBe(true);
  expect(seqs(ring.peek(ALL))).toEqual([2, 3]);
});

test("a batch larger than the ring never fits", () => {
  expect(new RingBuffer(new RingRoom(10)).push(batch(1, 11))).toBe(false);
});

test("a peek answers at least one batch, however large that is", () => {
  const ring = ringOf(100, batch(1, 50), batch(2, 1));
  expect(seqs(ring.peek(10))).toEqual([1]);
  expect(seqs(ring.peek(51))).toEqual([1, 2]);
  expect(seqs(ring.peek(51, 2))).toEqual([1]);
  expect(seqs(ring.peek(51, 1))).toEqual([]);
});

test("what was peeked stays as it was, whatever becomes of the ring", () => {
  const ring = ringOf(100, batch(1, 1), batch(2, 1));
  const peeked = ring.peek(ALL);
  ring.releaseThrough(1);
  ring.push(batch(3, 1));
  ring.clear();
  expect(seqs(peeked)).toEqual([1, 2]);
});

test("used for long, it holds on to little that it has released", async () => {
  const ring = new RingBuffer(new RingRoom(10));
  const alive: WeakRef<JournaledBatch>[] = [];
  for (let seq = 1; seq <= 10_000; seq++) {
    const one = batch(seq, 1);
    alive.push(new WeakRef(one));
    expect(ring.push(one)).toBe(true);
    if (seq % 10 === 0) ring.releaseThrough(seq);
  }
  // A reference keeps what it refers to alive until the end of its turn.
  await new Promise<void>((resolve) => setImmediate(resolve));
  Bun.gc(true);
  expect(ring.isEmpty).toBe(true);
  expect(alive.filter((ref) => ref.deref() !== undefined).length).toBeLessThan(1_000);
});

test("rings of one room have its events together", () => {
  const room = new RingRoom(10);
  const [a, b] = [new RingBuffer(room), new RingBuffer(room)];
  expect(a.push(batch(1, 6))).toBe(true);
  expect(b.push(batch(1, 5))).toBe(false);
  expect(b.push(batch(1, 4))).toBe(true);
  a.clear();
  expect(b.push(batch(2, 6))).toBe(true);
  expect(a.push(batch(2, 1))).toBe(false);
});

test("takes a capacity of at least one event", () => {
  for (const capacity of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
    expect(() => new RingRoom(capacity)).toThrow(`${capacity}`);
  }
});

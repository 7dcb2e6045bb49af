/** The parts of Kafka's driver, without a broker: unpacking, commits, and the assignment of partitions. */
import { describe, expect, test } from "bun:test";
import { lz4Compress, snappyCompress } from "@platformatic/wasm-utils";
import fc from "fast-check";
import { decompress } from "../../../src/intake/kafka/decompress.ts";
import { assignPartitions, PartitionFlow } from "../../../src/intake/kafka/kafka-partitions.ts";
import { isAbortMarker, packedBatches, recordsOf } from "../../../src/intake/kafka/record-batch.ts";
import { heapBytes } from "../../harness/heap.ts";

const [GZIP, SNAPPY, LZ4, ZSTD] = [1, 2, 3, 4];
const MAX_BYTES = 1_000_000;

function inJavasFrames(text: Buffer): Buffer {
  const header = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
  const blocks: Buffer[] = [];
  for (let at = 0; at < text.length; at += 1_000) {
    const block = snappyCompress(text.subarray(at, at + 1_000));
    const size = Buffer.alloc(4);
    size.writeUInt32BE(block.length);
    blocks.push(size, block);
  }
  return Buffer.concat([header, ...blocks]);
}

const COMPRESSIONS: Readonly<Record<string, [number, (text: Buffer) => Buffer]>> = {
  gzip: [GZIP!, (text) => Buffer.from(Bun.gzipSync(Uint8Array.from(text)))],
  snappy: [SNAPPY!, snappyCompress],
  "snappy in Java's frames": [SNAPPY!, inJavasFrames],
  lz4: [LZ4!, lz4Compress],
  zstd: [ZSTD!, (text) => Bun.zstdCompressSync(text)],
};

describe("what producers compress", () => {
  for (const [name, [number, compress]] of Object.entries(COMPRESSIONS)) {
    test(`with ${name} is unpacked, is bounded, and damaged or cut off throws`, async () => {
      const words = fc.array(fc.oneof(fc.constant("click"), fc.string({ maxLength: 20 })), { maxLength: 400 });
      const property = async (parts: string[]) => {
        const text = Buffer.from(parts.join(" "));
        expect(await decompress(number, compress(text))).toEqual(text);
      };
      await fc.assert(fc.asyncProperty(words, property), { numRuns: 30 });
      const bomb = compress(Buffer.alloc(MAX_BYTES + 1));
      await expect(decompress(number, bomb, MAX_BYTES)).rejects.toThrow(RangeError);
      const packed = compress(Buffer.from("abcdefgh ".repeat(300)));
      await expect(decompress(number, packed.subarray(0, packed.length - 20))).rejects.toThrow();
    });
  }

  test("in an unknown way throws", async () => {
    await expect(decompress(7, Buffer.from("x"))).rejects.toThrow("compression 7 is unknown");
  });
});

describe("what is committed", () => {
  test("is the first offset that is not settled, or where the next message is looked for", () => {
    const settlings = fc.array(fc.record({ gap: fc.nat(3), order: fc.nat() }), { minLength: 1, maxLength: 50 });
    const property = (messages: { gap: number; order: number }[]) => {
      const flow = new PartitionFlow(0, 100, 100);
      let next = 100;
      const offsets = messages.map(({ gap, order }) => {
        const offset = next + gap;
        next = offset + 1;
        return { offset, order };
      });
      for (const { offset } of offsets) flow.open(offset);
      flow.advance(next);
      const open = new Set(offsets.map(({ offset }) => offset));
      for (const { offset } of offsets.sort((a, b) => a.order - b.order)) {
        expect(flow.committable).toBe(Math.min(...open));
        flow.settle(offset);
        open.delete(offset);
      }
      expect(flow.committable).toBe(next);
    };
    fc.assert(fc.property(settlings, property));
  });

  test("is the first open one also behind many that were settled, whatever their order", () => {
    const COUNT = 25_000;
    const flow = new PartitionFlow(0, 0, COUNT);
    for (let offset = 0; offset < COUNT; offset++) flow.open(offset);
    flow.advance(COUNT);
    for (let start = 0; start < COUNT; start += 100) {
      for (let offset = start + 99; offset > start; offset--) {
        flow.settle(offset);
        expect(flow.committable).toBe(start);
      }
      flow.settle(start);
      expect(flow.committable).toBe(start + 100);
    }
  });
});

describe("behind one open message", () => {
  const COUNT = 1_000_000;
  const ENOUGH_BYTES = 5_000_000;

  test("settled offsets take no memory, and the partition is not read further than a bound", () => {
    const flow = new PartitionFlow(0, 7, COUNT);
    const before = heapBytes();
    flow.open(7);
    for (let offset = 8; offset <= COUNT; offset++) {
      flow.open(offset);
      flow.settle(offset);
    }
    flow.advance(COUNT);
    expect(heapBytes() - before).toBeLessThan(ENOUGH_BYTES);
    expect([flow.committable, flow.isFarAhead]).toEqual([7, false]);
    flow.advance(COUNT + 8);
    expect(flow.isFarAhead).toBe(true);
    flow.settle(7);
    expect([flow.committable, flow.isFarAhead]).toEqual([COUNT + 8, false]);
  });
});

describe("a batch of records", () => {
  /** One record each, "a" and "b", as a producer without compression sends them. */
  function batch(firstOffset: number, values: readonly string[]): Buffer {
    const records = values.map((value, i) => {
      const bytes = Buffer.from(value);
      const body = Buffer.concat([Buffer.from([0, 0, 2 * i, 1, 2 * bytes.length]), bytes, Buffer.from([0])]);
      return Buffer.concat([Buffer.from([2 * body.length]), body]);
    });
    const head = Buffer.alloc(61);
    const data = Buffer.concat(records);
    head.writeBigInt64BE(BigInt(firstOffset), 0);
    head.writeInt32BE(49 + data.length, 8);
    head.writeInt8(2, 16);
    head.writeInt32BE(values.length - 1, 23);
    head.writeBigInt64BE(-1n, 43);
    head.writeInt32BE(values.length, 57);
    return Buffer.concat([head, data]);
  }

  test("is read with its offsets, and the one that the answer cuts off is left out", async () => {
    const bytes = Buffer.concat([batch(5_000_000_000, ["a", "b"]), batch(5_000_000_002, ["c"])]);
    for (const cut of [1, 20, 60]) {
      const batches = packedBatches(bytes.subarray(0, bytes.length - cut));
      expect(batches).toHaveLength(1);
      expect(batches[0]!.nextOffset).toBe(5_000_000_002);
      const records = await recordsOf(batches[0]!);
      expect(records.map(({ offset, value }) => [offset, value?.text])).toEqual([
        [5_000_000_000, "a"],
        [5_000_000_001, "b"],
      ]);
    }
  });

  test("that marked the end of a transaction, and that compaction has emptied, is no abort", () => {
    const emptied = batch(0, []);
    emptied.writeInt16BE(0b11_0000, 21);
    const [read] = packedBatches(emptied);
    expect(read).toMatchObject({ isControl: true, recordCount: 0 });
    expect(isAbortMarker(read!)).toBe(false);
  });

  test("that says more than it holds throws, and so does a format of before", async () => {
    const wrong = batch(0, ["a"]);
    wrong.writeInt32BE(1_000, 57);
    await expect(recordsOf(packedBatches(wrong)[0]!)).rejects.toThrow("the data are truncated");
    const old = batch(0, ["a"]);
    old.writeInt8(1, 16);
    expect(() => packedBatches(old)).toThrow("the message format 1");
  });
});

describe("partitions", () => {
  test("go to the members that subscribe to their topic, each to one", () => {
    const members = new Map(
      ["ab", "a", "b", "a"].map((topics, i) => [
        `m${i}`,
        { memberId: `m${i}`, version: 1, topics: [...topics], metadata: Buffer.alloc(0) },
      ]),
    );
    const topics = new Map(["a", "b"].map((name) => [name, { partitionsCount: 7 }]));
    const shares = assignPartitions("m0", members, new Set(["a"]), { topics } as never);
    for (const topic of ["a", "b"]) {
      const given = shares.flatMap(({ memberId, assignments }) => {
        const partitions = assignments.get(topic)?.partitions ?? [];
        if (partitions.length > 0) expect(members.get(memberId)!.topics).toContain(topic);
        return partitions;
      });
      expect(given.sort()).toEqual([0, 1, 2, 3, 4, 5, 6]);
    }
  });
});

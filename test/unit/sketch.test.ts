/**
 * The sketch compared with a real Redis, which it must equal register by register and count by count; then its algebra
 * as properties, the error of its estimates, and how it handles bytes that are not a sketch.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { createClient, RESP_TYPES } from "redis";
import { Sketch } from "../../src/domain/unique-users/sketch.ts";
import { elementOf } from "../../src/domain/unique-users/user-hash.ts";
import { registerOf } from "../harness/pipeline/test-users.ts";
import { describeWithServers, startRedis } from "../harness/servers/servers.ts";

const REGISTERS = 16384;
const HEADER_SIZE = 16;
const DENSE_SIZE = 12304;
const MAX_SPARSE_SIZE = 3000;
const DEFAULT_SPARSE_LIMIT = "3000";
const ENCODING_BYTE = 4;
const DENSE = 0;
const SPARSE = 1;

function sketchOf(registers: Iterable<number>): Sketch {
  const sketch = new Sketch();
  for (const register of registers) sketch.add(register);
  return sketch;
}

/** Users as they come: short and long, ASCII, Latin-1, Cyrillic, emoji, a lone surrogate. All different. */
function userOf(name: string, i: number): string {
  const forms = [
    `${name}-${i}`,
    `${name}-é-${i}`,
    `пользователь-${name}-${i}`,
    `${name}-${"long".repeat(100)}-${i}`,
    `${name}-👩‍🚀-${i}`,
    `${name}-\ud800-${i}`,
  ];
  return forms[i % forms.length]!;
}

function usersOf(name: string, count: number): string[] {
  return Array.from({ length: count }, (_, i) => userOf(name, i));
}

function ranksOf(sketch: Sketch): Uint8Array {
  return Uint8Array.from({ length: REGISTERS }, (_, index) => sketch.register(index));
}

/** All 16384 registers; shows only the first that differs, since a diff of all would fill the screen. */
function expectSameRegisters(actual: Sketch, expected: Sketch): void {
  const [actualRanks, expectedRanks] = [ranksOf(actual), ranksOf(expected)];
  const index = actualRanks.findIndex((rank, i) => rank !== expectedRanks[i]);
  const difference = index < 0 ? null : { index, actual: actualRanks[index], expected: expectedRanks[index] };
  expect(difference).toBeNull();
}

/** Same registers, same histogram behind them (count), same bytes. */
function expectSame(actual: Sketch, expected: Sketch): void {
  expectSameRegisters(actual, expected);
  expect(actual.count()).toBe(expected.count());
  expect(actual.encode().equals(expected.encode())).toBe(true);
}

/** The dense encoding bit by bit, in other words than the code under test. */
function denseBytesOf(ranks: ArrayLike<number>): Buffer {
  const bytes = Buffer.alloc(DENSE_SIZE);
  bytes.write("HYLL");
  bytes[15] = 0x80;
  for (let bit = 0; bit < REGISTERS * 6; bit++) {
    const isSet = (ranks[Math.floor(bit / 6)]! >> (bit % 6)) & 1;
    bytes[HEADER_SIZE + Math.floor(bit / 8)]! |= isSet << (bit % 8);
  }
  return bytes;
}

const MASK = (1n << 64n) - 1n;
const HASH_SEED = 0xadc83b19n;
const MURMUR_FACTOR = 0xc6a4a7935bd1e995n;

/**
 * A user of eight ASCII characters whose hash has the given rank: ranks above 32 turn up once in billions of
 * users, so the hash is chosen, and run backwards. (Its steps are a xor with its own upper 17 bits, which
 * undoes itself, and a product modulo 2^64, undone by the factor's inverse.)
 */
function userOfRank(rank: number): string {
  // Newton's iteration: every round doubles the number of bits that are right, from 3 to over 64.
  let inverse = MURMUR_FACTOR;
  for (let round = 0; round < 5; round++) inverse = (inverse * (2n - MURMUR_FACTOR * inverse)) & MASK;
  const unmix = (word: bigint): bigint => word ^ (word >> 47n);
  const undo = (word: bigint): bigint => (unmix(word) * inverse) & MASK;
  const user = Buffer.alloc(8);
  for (let index = 0n; index < BigInt(REGISTERS); index++) {
    const hash = rank === 51 ? index : index | (1n << BigInt(13 + rank));
    const block = (undo(undo(hash)) ^ HASH_SEED ^ (8n * MURMUR_FACTOR)) & MASK;
    user.writeBigUInt64LE(undo((block * inverse) & MASK));
    if (user.every((byte) => byte < 0x80)) return user.toString("latin1");
  }
  throw new Error(`No hash of rank ${rank} belongs to eight ASCII characters`);
}

/** Mostly such as the sparse encoding can hold. */
const someRank: fc.Arbitrary<number> = fc.oneof(
  { weight: 40, arbitrary: fc.integer({ min: 1, max: 32 }) },
  { weight: 1, arbitrary: fc.integer({ min: 33, max: 51 }) },
);

/** Registers of three origins: single ones of any rank, runs of the same rank, and those of many users. */
const someRegisters: fc.Arbitrary<number[]> = fc
  .tuple(
    fc.array(fc.tuple(fc.nat(REGISTERS - 1), someRank), { maxLength: 20 }),
    fc.array(fc.tuple(fc.nat(REGISTERS - 30), fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 30 }))),
    fc.tuple(fc.nat(), fc.constantFrom(0, 0, 10, 500, 520, 1_500, 20_000)),
  )
  .map(([singles, runs, [name, users]]) => [
    ...singles.map(([index, rank]) => index * 64 + rank),
    ...runs.flatMap(([start, rank, length]) => Array.from({ length }, (_, i) => (start + i) * 64 + rank)),
    ...Array.from({ length: users }, (_, i) => registerOf(`${name}-${i}`)),
  ]);

/** Replaces some bytes, usually by as many, since any other length would be detected by itself. */
const someDamage = fc
  .record({
    at: fc.nat(DENSE_SIZE),
    by: fc.uint8Array({ maxLength: 2 }),
    growth: fc.constantFrom(0, 0, 0, 0, 0, 0, 0, -1, 1),
  })
  .map(({ at, by, growth }) => (bytes: Buffer) => {
    const start = at % (bytes.length + 1);
    return Buffer.concat([bytes.subarray(0, start), by, bytes.subarray(start + Math.max(0, by.length - growth))]);
  });

/** Bytes of a sketch after something happened to them: changed in up to three places, and at times cut. */
const damagedBytes: fc.Arbitrary<Buffer> = fc
  .tuple(
    someRegisters,
    fc.array(someDamage, { minLength: 1, maxLength: 3 }),
    fc.oneof(
      { weight: 5, arbitrary: fc.constant(Number.POSITIVE_INFINITY) },
      { weight: 1, arbitrary: fc.nat(DENSE_SIZE) },
    ),
  )
  .map(([registers, damages, cut]) => {
    const bytes = damages.reduce((damaged, damage) => damage(damaged), sketchOf(registers).encode());
    return bytes.subarray(0, cut);
  });

describeWithServers("against Redis", ["redis"], () => {
  let stopRedis: () => Promise<void>;
  let redis: Awaited<ReturnType<typeof connect>>;

  async function connect(url: string) {
    const client = createClient({ url });
    await client.connect();
    return client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
  }

  beforeAll(async () => {
    const server = await startRedis();
    stopRedis = () => server.stop();
    redis = await connect(server.url);
  });
  afterAll(async () => {
    redis?.destroy();
    await stopRedis?.();
  });
  beforeEach(async () => {
    await redis.flushAll();
    await redis.configSet("hll-sparse-max-bytes", DEFAULT_SPARSE_LIMIT);
  });

  async function bytesAt(key: string): Promise<Buffer> {
    const bytes = await redis.get(key);
    if (bytes === null) throw new Error(`Redis has no key ${key}`);
    return bytes;
  }

  async function addAll(key: string, users: readonly string[]): Promise<void> {
    for (let i = 0; i < users.length; i += 1000) await redis.pfAdd(key, users.slice(i, i + 1000));
  }

  async function expectHeldAt(key: string, expected: Sketch): Promise<void> {
    expectSameRegisters(Sketch.decode(await bytesAt(key)), expected);
    expect(await redis.pfCount(key)).toBe(expected.count());
  }

  test.each([
    { users: 1, limit: DEFAULT_SPARSE_LIMIT, encoding: SPARSE },
    { users: 10, limit: DEFAULT_SPARSE_LIMIT, encoding: SPARSE },
    { users: 500, limit: DEFAULT_SPARSE_LIMIT, encoding: SPARSE },
    { users: 5_000, limit: DEFAULT_SPARSE_LIMIT, encoding: DENSE },
    { users: 100_000, limit: DEFAULT_SPARSE_LIMIT, encoding: DENSE },
    { users: 1, limit: "0", encoding: DENSE },
    { users: 10, limit: "0", encoding: DENSE },
    { users: 500, limit: "0", encoding: DENSE },
    { users: 5_000, limit: "0", encoding: DENSE },
  ])("$users users, hll-sparse-max-bytes $limit: same registers, same count", async (given) => {
    await redis.configSet("hll-sparse-max-bytes", given.limit);
    const users = usersOf("model", given.users);
    await addAll("key", users);
    expect((await bytesAt("key"))[ENCODING_BYTE]).toBe(given.encoding);
    await expectHeldAt("key", sketchOf(users.map(registerOf)));
  });

  test("a user of every rank, up to the highest", async () => {
    const users = Array.from({ length: 51 }, (_, i) => userOfRank(i + 1));
    const registers = users.map(registerOf);
    expect(registers.map((register) => register & 63)).toEqual(users.map((_, i) => i + 1));
    await addAll("key", users);
    await expectHeldAt("key", sketchOf(registers));
  });

  test.each([0, 1, 10, 500, 5_000, 100_000])("Redis works on what we encode of %d users", async (count) => {
    const sketch = sketchOf(usersOf("ours", count).map(registerOf));
    const bytes = sketch.encode();
    expect(bytes[ENCODING_BYTE]).toBe(count > 500 ? DENSE : SPARSE);
    await redis.set("ours", bytes);
    await expectHeldAt("ours", sketch);

    const more = usersOf("more", 200);
    await addAll("ours", more);
    for (const user of more) sketch.add(registerOf(user));
    await expectHeldAt("ours", sketch);

    const others = usersOf("other", 3_000);
    await addAll("other", others);
    await redis.pfMerge("merged", ["ours", "other"]);
    sketch.merge(sketchOf(others.map(registerOf)));
    await expectHeldAt("merged", sketch);
  });

  test("the last sketch that is sparse and the first that is dense", async () => {
    const sketch = new Sketch();
    let lastSparse = sketch.encode();
    for (let i = 0; i < 10_000 && sketch.encode()[ENCODING_BYTE] === SPARSE; i++) {
      lastSparse = sketch.encode();
      sketch.add(registerOf(userOf("boundary", i)));
    }
    expect(lastSparse.length).toBeWithin(MAX_SPARSE_SIZE - 3, MAX_SPARSE_SIZE + 1);
    await redis.mSet([
      ["sparse", lastSparse],
      ["dense", sketch.encode()],
    ]);
    await expectHeldAt("sparse", Sketch.decode(lastSparse));
    await expectHeldAt("dense", sketch);
  });

  /** As after 10^15 users: only next to ranks this high do registers at the highest rank matter. */
  test.each([1, 4_096, 8_192])("%d registers at the highest rank", async (count) => {
    const ranks = Array.from({ length: REGISTERS }, (_, index) => (index < count ? 51 : 38));
    const sketch = sketchOf(ranks.map((rank, index) => index * 64 + rank));
    await redis.set("high", sketch.encode());
    await expectHeldAt("high", sketch);
  });

  test("any registers: Redis counts and merges our bytes as we do", async () => {
    await fc.assert(
      fc.asyncProperty(someRegisters, someRegisters, async (first, second) => {
        const [one, other] = [sketchOf(first), sketchOf(second)];
        await redis.mSet([
          ["one", one.encode()],
          ["other", other.encode()],
        ]);
        expect(one.countWith(other)).toBe(await redis.pfCount(["one", "other"]));
        await redis.del("both");
        await redis.pfMerge("both", ["one", "other"]);
        await expectHeldAt("one", one);
        one.merge(other);
        await expectHeldAt("both", one);
      }),
    );
  });

  test("damaged bytes that we decode mean the same to Redis", async () => {
    await fc.assert(
      fc.asyncProperty(damagedBytes, async (bytes) => {
        const sketch = decodedOrNull(bytes);
        if (sketch === null) return;
        await redis.set("damaged", withByte(bytes, 15, 0x80));
        expect(await redis.pfCount("damaged")).toBe(sketch.count());
      }),
      { numRuns: 300 },
    );
  });
});

describe("properties", () => {
  test("a register holds the highest rank it was given, and add() says when it rises", () => {
    fc.assert(
      fc.property(someRegisters, (registers) => {
        const ranks = new Uint8Array(REGISTERS);
        const sketch = new Sketch();
        for (const register of registers) {
          const [index, rank] = [register >> 6, register & 63];
          if (sketch.add(register) !== rank > ranks[index]!) throw new Error(`add(${register}) told wrongly`);
          ranks[index] = Math.max(ranks[index]!, rank);
        }
        expect(Buffer.compare(ranksOf(sketch), ranks)).toBe(0);
      }),
    );
  });

  test("decode undoes encode", () => {
    fc.assert(
      fc.property(someRegisters, (registers) => {
        const sketch = sketchOf(registers);
        const bytes = sketch.encode();
        expectSame(Sketch.decode(bytes), sketch);
        const isSparse = bytes[ENCODING_BYTE] === SPARSE;
        if (isSparse) expect(bytes.length).toBeWithin(HEADER_SIZE + 2, MAX_SPARSE_SIZE + 1);
        else expect(bytes.length).toBe(DENSE_SIZE);
        if (registers.some((register) => (register & 63) > 32)) expect(isSparse).toBe(false);
      }),
    );
  });

  test("runs are as long as the encoding allows: 4 registers of a rank in a byte, 64 zeros in a byte", () => {
    const fourAlike = sketchOf([0, 1, 2, 3].map((index) => index * 64 + 1));
    expect(fourAlike.encode()).toEqual(sketchBytes(SPARSE, [0x83, 0x7f, 0xfb]));
    const farApart = sketchOf([0, 65].map((index) => index * 64 + 1));
    expect(farApart.encode()).toEqual(sketchBytes(SPARSE, [0x80, 0x3f, 0x80, 0x7f, 0xbd]));
  });

  test("dense bytes of any registers decode to what adding them gives", () => {
    fc.assert(
      fc.property(someRegisters, (registers) => {
        const sketch = sketchOf(registers);
        expectSame(Sketch.decode(denseBytesOf(ranksOf(sketch))), sketch);
      }),
      { numRuns: 40 },
    );
  });

  test("a merge is the union, either way round, and leaves the other as it is", () => {
    fc.assert(
      fc.property(someRegisters, someRegisters, (first, second) => {
        const union = sketchOf([...first, ...second]);
        const [one, other] = [sketchOf(first), sketchOf(second)];
        one.merge(other);
        expectSame(one, union);
        expectSame(other, sketchOf(second));
        other.merge(sketchOf(first));
        expectSame(other, union);
      }),
    );
  });

  test("the union is counted without being made, either way round", () => {
    fc.assert(
      fc.property(someRegisters, someRegisters, (first, second) => {
        const [one, other] = [sketchOf(first), sketchOf(second)];
        const expected = sketchOf([...first, ...second]).count();
        expect([one.countWith(other), other.countWith(one)]).toEqual([expected, expected]);
        expect([one.countWith(one), one.countWith(new Sketch())]).toEqual([one.count(), one.count()]);
        expectSame(one, sketchOf(first));
        expectSame(other, sketchOf(second));
        expect([one.isEmpty, new Sketch().isEmpty]).toEqual([first.length === 0, true]);
      }),
    );
  });

  test("a merge with itself, with nothing or once more changes nothing", () => {
    fc.assert(
      fc.property(someRegisters, someRegisters, (first, second) => {
        const sketch = sketchOf(first);
        sketch.merge(sketch);
        sketch.merge(new Sketch());
        expectSame(sketch, sketchOf(first));
        const other = sketchOf(second);
        sketch.merge(other);
        const before = sketch.encode();
        sketch.merge(other);
        expect(sketch.encode().equals(before)).toBe(true);
      }),
    );
  });

  test("the order in which registers are added is irrelevant", () => {
    fc.assert(
      fc.property(someRegisters, (registers) => {
        expectSame(sketchOf(registers.toReversed()), sketchOf(registers));
        expectSame(sketchOf(registers.toSorted((a, b) => a - b)), sketchOf(registers));
      }),
    );
  });
});

describe("estimate", () => {
  const STANDARD_ERROR = 1.04 / Math.sqrt(REGISTERS);

  function estimateOf(name: string, users: number): number {
    const sketch = new Sketch();
    for (let i = 0; i < users; i++) sketch.add(registerOf(`${name}-${i}`));
    return sketch.count();
  }

  test.each([10, 100, 1_000, 10_000, 100_000, 1_000_000])("%d users, within three errors", (users) => {
    // Three errors of ten users are a quarter of a user, and the estimate is an integer.
    const allowed = Math.max(1, 3 * STANDARD_ERROR * users);
    for (const name of ["a", "b", "c", "d", "e"]) {
      expect(Math.abs(estimateOf(name, users) - users)).toBeLessThanOrEqual(allowed);
    }
  });

  /** 40,000: where estimators that switch between two formulas are wrong to one side. */
  test.each([1_000, 10_000, 40_000])("%d users, 50 times: as exact as it says, no bias", (users) => {
    const errors = Array.from({ length: 50 }, (_, i) => estimateOf(`sample-${i}`, users) / users - 1);
    const mean = errors.reduce((sum, error) => sum + error, 0) / errors.length;
    const meanSquare = errors.reduce((sum, error) => sum + error * error, 0) / errors.length;
    expect(Math.abs(mean)).toBeLessThan((3 * STANDARD_ERROR) / Math.sqrt(errors.length));
    expect(Math.sqrt(meanSquare)).toBeLessThan(1.25 * STANDARD_ERROR);
  });

  test("no user is 0, and forged registers still give an integer", () => {
    expect(new Sketch().count()).toBe(0);
    const forged = sketchOf(Array.from({ length: REGISTERS }, (_, index) => index * 64 + 51));
    expect(forged.count()).toBe(Number.MAX_SAFE_INTEGER);
  });
});

/** Null if the bytes are no sketch, and that was said as it should be. */
function decodedOrNull(bytes: Uint8Array): Sketch | null {
  try {
    return Sketch.decode(bytes);
  } catch (error) {
    expect(String(error)).toStartWith("Error: Cannot decode a sketch: found ");
    return null;
  }
}

/** "HYLL", encoding, zeros, a stale count, and then what is given. */
function sketchBytes(encoding: number, body: ArrayLike<number>): Buffer {
  return Buffer.from([...Buffer.from("HYLL"), encoding, ...new Array(10).fill(0), 0x80, ...Array.from(body)]);
}

function withByte(bytes: Uint8Array, at: number, value: number): Buffer {
  const changed = Buffer.from(bytes);
  changed[at] = value;
  return changed;
}

describe("malformed bytes", () => {
  const ALL_ZERO = [0x7f, 0xff];
  const empty = new Sketch().encode();
  const dense = denseBytesOf(new Uint8Array(REGISTERS));

  test.each([
    ["no bytes", Buffer.alloc(0), "found 0 bytes in all, expected a header of 16 bytes"],
    ["half a header", empty.subarray(0, 9), "found 9 bytes in all, expected a header of 16 bytes"],
    ["another magic", withByte(empty, 3, 0x58), 'found 0x48594c58 at its start, expected 0x48594c4c ("HYLL")'],
    ["another encoding", withByte(empty, 4, 2), "found encoding 2, expected 0 (dense) or 1 (sparse)"],
    ["reserved bytes set", withByte(empty, 6, 9), "found 0x000900 at bytes 5 to 7, expected zeros"],
    ["a header alone, dense", sketchBytes(DENSE, []), "found 16 bytes in dense encoding, expected 12304"],
    ["dense, short", dense.subarray(0, -1), "found 12303 bytes in dense encoding, expected 12304"],
    ["dense, long", Buffer.concat([dense, empty]), "found 12322 bytes in dense encoding, expected 12304"],
    ["dense, high rank", withByte(dense, 16, 52), "found 52 in register 0, expected 0 to 51"],
    ["dense, high last", withByte(dense, 12303, 0xfc), "found 63 in register 16383, expected 0 to 51"],
    ["a header alone, sparse", sketchBytes(SPARSE, []), "found runs for 0 registers in all, expected runs for 16384"],
    ["runs missing", sketchBytes(SPARSE, [0x7f, 0xfe]), "found runs for 16383 registers in all"],
    ["a run cut off", sketchBytes(SPARSE, [0x00, 0x7f]), "found a run of zeros that is cut off at byte 17"],
    ["a run too long", sketchBytes(SPARSE, [0x00, ...ALL_ZERO]), "found a run up to register 16384 at byte 17"],
    ["a ZERO too many", sketchBytes(SPARSE, [...ALL_ZERO, 0x00]), "found a run up to register 16384 at byte 18"],
    [
      "a VAL too many",
      sketchBytes(SPARSE, [0x7f, 0xfd, 0x83]),
      "found a run up to register 16385 at byte 18, expected none past 16383",
    ],
    ["sparse, sent as dense", withByte(empty, 4, DENSE), "found 18 bytes in dense encoding"],
    ["dense, sent as sparse", withByte(dense, 4, SPARSE), "found runs for 12288 registers in all"],
  ])("%s", (_, bytes, message) => {
    expect(() => Sketch.decode(bytes)).toThrow(`Cannot decode a sketch: ${message}`);
  });

  test("what the cache says, and where the bytes lie, is irrelevant", () => {
    const registers = usersOf("cached", 700).map(registerOf);
    const cached = withByte(withByte(sketchOf(registers).encode(), 15, 0), 8, 7);
    const shifted = Buffer.concat([Buffer.from("x"), cached]).subarray(1);
    expectSame(Sketch.decode(new Uint8Array(shifted.buffer, shifted.byteOffset, shifted.length)), sketchOf(registers));
  });

  /** A hang would show as a test that does not end. */
  function expectValidOrError(bytes: Uint8Array): void {
    const sketch = decodedOrNull(bytes);
    if (sketch === null) return;
    expect(ranksOf(sketch).every((rank) => rank <= 51)).toBe(true);
    expect(Number.isSafeInteger(sketch.count())).toBe(true);
    expectSame(Sketch.decode(sketch.encode()), sketch);
  }

  test("damaged bytes decode to valid registers or throw", () => {
    fc.assert(fc.property(damagedBytes, expectValidOrError), { numRuns: 500 });
  });

  test("random bytes behind a good header decode to valid registers or throw", () => {
    const anyBytes = fc.uint8Array({ maxLength: 2_000 }).map((body) => sketchBytes(SPARSE, body));
    fc.assert(fc.property(anyBytes, expectValidOrError), { numRuns: 500 });
  });
});

test("an element for PFADD raises the register that it was made for", () => {
  const register = fc
    .tuple(fc.integer({ min: 0, max: REGISTERS - 1 }), fc.integer({ min: 1, max: 51 }))
    .map(([index, rank]) => index * 64 + rank);
  fc.assert(fc.property(register, (wanted) => expect(registerOf(elementOf(wanted))).toBe(wanted)));
});

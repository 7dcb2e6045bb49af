/**
 * Estimates how many distinct users it was given, within 0.81 % (one standard error), in at most 16 KB, however often
 * each user comes. A sketch is a HyperLogLog, and its bytes are a Redis string for PFADD, PFCOUNT and PFMERGE.
 *
 * Each user is hashed (user-hash.ts). The low bits of the hash select one of 16384 registers; the number of zeros
 * before the first 1-bit of the rest is the user's rank, and a register keeps the highest rank it was given. Rank r
 * occurs once in 2^r users, so the registers tell how many there were. A union takes the higher of each two registers,
 * so neither order, repetition nor splitting over processes changes the result.
 *
 * - P. Flajolet, É. Fusy, O. Gandouet, F. Meunier: "HyperLogLog: the analysis of a near-optimal cardinality estimation
 *   algorithm", 2007. The algorithm.
 * - S. Heule, M. Nunkesser, A. Hall: "HyperLogLog in Practice", 2013. 64 bit hashes, sparse sketches.
 * - O. Ertl: "New cardinality estimation algorithms for HyperLogLog sketches", 2017, arXiv:1702.01284. The estimator:
 *   no bias to correct and no switch to linear counting, only a histogram of the registers.
 *
 * Bytes, all little endian:
 *    0  "HYLL"
 *    4  encoding: 0 dense, 1 sparse
 *    5  three zeros
 *    8  cached count, 8 bytes; its highest bit says that the cache is stale
 *   16  dense: 16384 registers of 6 bits, register 0 in the low bits of byte 16. 12304 bytes in all.
 *       sparse: runs, which cover the 16384 registers in order and exactly:
 *         00nnnnnn            ZERO: n + 1 registers are 0
 *         01nnnnnn nnnnnnnn   XZERO: n + 1 registers are 0, high bits first
 *         1vvvvvnn            VAL: n + 1 registers are v + 1, so up to 4 registers and no rank above 32
 *
 * In memory a sketch is a small hash table while few registers are set, and then an array of all registers.
 *
 * Invariants: a register never falls. The histogram always counts the registers at each rank. A sketch is dense in
 * memory if and only if more than SPARSE_LIMIT of its registers are set.
 */

/** The precision: Redis has the same, fixed. */
export const INDEX_BITS = 14;
export const REGISTERS = 1 << INDEX_BITS;
export const MAX_RANK = 64 - INDEX_BITS + 1;

const HEADER_SIZE = 16;
const MAGIC = Buffer.from("HYLL");
const DENSE = 0;
const SPARSE = 1;
const DENSE_SIZE = HEADER_SIZE + (REGISTERS * 6) / 8;
/** The default of `hll-sparse-max-bytes`: Redis does not keep a larger sketch sparse either. */
const MAX_SPARSE_SIZE = 3000;
const MAX_SPARSE_RANK = 32;
const MAX_VAL_RUN = 4;
const MAX_ZERO_RUN = 64;

/** A new sketch has a table of 64 bytes. */
const FIRST_SLOTS = 16;
/** These take 1024 slots of 4 bytes, a quarter of the dense array. */
const SPARSE_LIMIT = 512;
const NO_SLOTS = new Uint32Array(0);

/** Lim α_m for m → ∞ in Flajolet's notation. */
const ALPHA = 1 / (2 * Math.LN2);

export class Sketch {
  /** The set registers: open addressing by index. 0 is a free slot. */
  #slots: Uint32Array = new Uint32Array(FIRST_SLOTS);
  /** The rank at each index. Null while the sketch is sparse in memory. */
  #ranks: Uint8Array | null = null;
  readonly #histogram: Uint16Array = new Uint16Array(MAX_RANK + 1);

  constructor() {
    this.#histogram[0] = REGISTERS;
  }

  /** Reads a Redis string, ignoring its cached count. Throws if the bytes are not a sketch. */
  static decode(bytes: Uint8Array): Sketch {
    checkHeader(bytes);
    const sketch = new Sketch();
    if (bytes[MAGIC.length] === DENSE) addDense(sketch, bytes);
    else addSparse(sketch, bytes);
    return sketch;
  }

  /** `register`: from user-hash.ts, unchecked. True if a register rose. */
  add(register: number): boolean {
    const ranks = this.#ranks;
    if (ranks === null) return this.#addToSlots(register);
    const index = register >>> 6;
    const rank = register & 63;
    const held = ranks[index]!;
    if (rank <= held) return false;
    ranks[index] = rank;
    this.#histogram[held]! -= 1;
    this.#histogram[rank]! += 1;
    return true;
  }

  /** Merges the other sketch into this one. Merging a sketch with itself changes nothing. */
  merge(other: Sketch): void {
    const theirs = other.#ranks;
    if (theirs !== null) {
      raise(this.#becomeDense(), theirs, this.#histogram);
      return;
    }
    const slots = other.#slots;
    for (let i = 0; i < slots.length; i++) if (slots[i] !== 0) this.add(slots[i]!);
  }

  get isEmpty(): boolean {
    return this.#setCount() === 0;
  }

  /** The estimate, equal to that of PFCOUNT. */
  count(): number {
    return estimate(this.#histogram);
  }

  /** Estimates the union with another sketch without building it: 15 µs if both are dense, 2 if one is small. */
  countWith(other: Sketch): number {
    const [larger, smaller] = this.#setCount() >= other.#setCount() ? [this, other] : [other, this];
    if (smaller.#setCount() === 0) return larger.count();
    const histogram = larger.#histogram.slice();
    if (smaller.#ranks === null) larger.#countRises(smaller.#slots, histogram);
    else countRises(larger.#ranks!, smaller.#ranks, histogram);
    return estimate(histogram);
  }

  #countRises(slots: Uint32Array, histogram: Uint16Array): void {
    for (let i = 0; i < slots.length; i++) {
      const rank = slots[i]! & 63;
      if (rank === 0) continue;
      const held = this.register(slots[i]! >>> 6);
      if (rank <= held) continue;
      histogram[held]! -= 1;
      histogram[rank]! += 1;
    }
  }

  register(index: number): number {
    if (this.#ranks !== null) return this.#ranks[index]!;
    return this.#slots[this.#slotOf(index)]! & 63;
  }

  /** Returns it as a Redis string: sparse if the ranks permit it and it has at most 3000 bytes, else dense. */
  encode(): Buffer {
    return this.#encodeSparse() ?? encodeDense(this.#ranks ?? this.#spread());
  }

  #encodeSparse(): Buffer | null {
    // One byte covers four registers at best: with more registers it can't fit.
    if (this.#setCount() > MAX_SPARSE_SIZE * MAX_VAL_RUN) return null;
    for (let rank = MAX_SPARSE_RANK + 1; rank <= MAX_RANK; rank++) {
      if (this.#histogram[rank] !== 0) return null;
    }
    return encodeSparse(this.#sortedRegisters());
  }

  #setCount(): number {
    return REGISTERS - this.#histogram[0]!;
  }

  /** The slot of the register at an index, or the free slot for it. There is always a free one. */
  #slotOf(index: number): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let slot = index & mask;
    while (slots[slot] !== 0 && slots[slot]! >>> 6 !== index) slot = (slot + 1) & mask;
    return slot;
  }

  #addToSlots(register: number): boolean {
    const slot = this.#slotOf(register >>> 6);
    const held = this.#slots[slot]!;
    if (register <= held) return false;
    this.#slots[slot] = register;
    this.#histogram[held & 63]! -= 1;
    this.#histogram[register & 63]! += 1;
    // At half full, a look-up visits 1.5 slots on average if it finds its register, and 2.5 if not.
    if (held === 0 && this.#setCount() * 2 > this.#slots.length) this.#grow();
    return true;
  }

  #grow(): void {
    if (this.#setCount() > SPARSE_LIMIT) {
      this.#becomeDense();
      return;
    }
    const old = this.#slots;
    this.#slots = new Uint32Array(old.length * 2);
    for (const register of old) if (register !== 0) this.#slots[this.#slotOf(register >>> 6)] = register;
  }

  #becomeDense(): Uint8Array {
    if (this.#ranks === null) {
      this.#ranks = this.#spread();
      this.#slots = NO_SLOTS;
    }
    return this.#ranks;
  }

  #spread(): Uint8Array {
    const ranks = new Uint8Array(REGISTERS);
    for (const register of this.#slots) if (register !== 0) ranks[register >>> 6] = register & 63;
    return ranks;
  }

  #sortedRegisters(): Uint32Array {
    const ranks = this.#ranks;
    if (ranks === null) return this.#slots.filter((register) => register !== 0).sort();
    const registers = new Uint32Array(this.#setCount());
    let length = 0;
    for (let index = 0; index < REGISTERS; index++) {
      if (ranks[index] !== 0) registers[length++] = index * 64 + ranks[index]!;
    }
    return registers;
  }
}

export interface UserCounts {
  readonly uniqueUsers: number;
  readonly uniqueClickers: number;
  readonly uniqueViewers: number;
}

/**
 * The unique users of one or more hours, by kind: one sketch of the users who clicked, one of those who had an
 * impression. A user in both counts once in their union.
 */
export class UserSketches {
  /** Read-only for callers. */
  readonly viewers: Sketch;
  /** Read-only for callers. */
  readonly clickers: Sketch;
  /** The union's count, cached until a register rises: it takes up to 15 µs and is read often. */
  #count: number | undefined;

  constructor(viewers = new Sketch(), clickers = new Sketch()) {
    this.viewers = viewers;
    this.clickers = clickers;
  }

  /** Reads a store's Redis strings; no bytes mean no users. Throws like Sketch.decode(). */
  static decode(viewers: Uint8Array, clickers: Uint8Array): UserSketches {
    return new UserSketches(decoded(viewers), decoded(clickers));
  }

  /** True if a register rose. */
  add(register: number, isClick: boolean): boolean {
    if (!(isClick ? this.clickers : this.viewers).add(register)) return false;
    this.#count = undefined;
    return true;
  }

  merge(other: UserSketches): void {
    this.#count = undefined;
    this.viewers.merge(other.viewers);
    this.clickers.merge(other.clickers);
  }

  count(): number {
    this.#count ??= this.viewers.countWith(this.clickers);
    return this.#count;
  }

  counts(): UserCounts {
    return {
      uniqueUsers: this.count(),
      uniqueClickers: this.clickers.count(),
      uniqueViewers: this.viewers.count(),
    };
  }

  encode(): { readonly viewers: Buffer; readonly clickers: Buffer } {
    return { viewers: encoded(this.viewers), clickers: encoded(this.clickers) };
  }
}

function decoded(bytes: Uint8Array): Sketch {
  return bytes.length === 0 ? new Sketch() : Sketch.decode(bytes);
}

/** A sketch without users takes no bytes in a store. */
function encoded(sketch: Sketch): Buffer {
  return sketch.isEmpty ? Buffer.alloc(0) : sketch.encode();
}

/** A branch takes 8 µs; taking every maximum and recounting the histogram takes 13. */
function raise(ranks: Uint8Array, others: Uint8Array, histogram: Uint16Array): void {
  for (let index = 0; index < REGISTERS; index++) {
    const held = ranks[index]!;
    const rank = others[index]!;
    if (rank <= held) continue;
    ranks[index] = rank;
    histogram[held]! -= 1;
    histogram[rank]! += 1;
  }
}

/** Like raise(), but only changes the histogram. */
function countRises(ranks: Uint8Array, others: Uint8Array, histogram: Uint16Array): void {
  for (let index = 0; index < REGISTERS; index++) {
    const held = ranks[index]!;
    const rank = others[index]!;
    if (rank <= held) continue;
    histogram[held]! -= 1;
    histogram[rank]! += 1;
  }
}

/**
 * Ertl's improved raw estimator, algorithm 6 of his paper. The order of operations is Redis', so that both round alike.
 */
function estimate(histogram: Uint16Array): number {
  let sum = REGISTERS * tau(1 - histogram[MAX_RANK]! / REGISTERS);
  for (let rank = MAX_RANK - 1; rank >= 1; rank--) sum = (sum + histogram[rank]!) / 2;
  sum += REGISTERS * sigma(histogram[0]! / REGISTERS);
  // Capped where numbers stop being exact. Only forged registers get there: all at 51 would be infinite.
  return Math.min(Math.round((ALPHA * REGISTERS * REGISTERS) / sum), Number.MAX_SAFE_INTEGER);
}

/** The contribution of the registers at the highest rank, given the share of the others. At most 21 rounds. */
function tau(share: number): number {
  if (share === 0 || share === 1) return 0;
  let x = share;
  let weight = 1;
  let sum = 1 - x;
  for (let previous = Number.NaN; sum !== previous; ) {
    previous = sum;
    x = Math.sqrt(x);
    weight /= 2;
    sum -= (1 - x) * (1 - x) * weight;
  }
  return sum / 3;
}

/** The contribution of the registers at 0, given their share: infinite if all are 0. At most 20 rounds. */
function sigma(share: number): number {
  if (share === 1) return Number.POSITIVE_INFINITY;
  let x = share;
  let weight = 1;
  let sum = x;
  for (let previous = Number.NaN; sum !== previous; ) {
    previous = sum;
    x *= x;
    sum += x * weight;
    weight *= 2;
  }
  return sum;
}

/** Marks the cached count as stale: Redis computes it when asked. */
function writeHeader(bytes: Uint8Array, encoding: number): void {
  bytes.set(MAGIC);
  bytes[MAGIC.length] = encoding;
  bytes[HEADER_SIZE - 1] = 0x80;
}

function encodeDense(ranks: Uint8Array): Buffer {
  const bytes = Buffer.alloc(DENSE_SIZE);
  writeHeader(bytes, DENSE);
  for (let index = 0, at = HEADER_SIZE; index < REGISTERS; index += 4, at += 3) {
    const four = ranks[index]! | (ranks[index + 1]! << 6) | (ranks[index + 2]! << 12) | (ranks[index + 3]! << 18);
    bytes[at] = four;
    bytes[at + 1] = four >>> 8;
    bytes[at + 2] = four >>> 16;
  }
  return bytes;
}

/** Scratch space for sparse sketches. Shared by all calls, since none awaits. */
const sparseBytes = new Uint8Array(MAX_SPARSE_SIZE);
writeHeader(sparseBytes, SPARSE);

/** `registers`: ascending, none above rank 32. Null if they take too many bytes. */
function encodeSparse(registers: Uint32Array): Buffer | null {
  const bytes = sparseBytes;
  let at = HEADER_SIZE;
  let covered = 0;
  // Writes past the end of the array are dropped, so checking the length once per round suffices.
  for (let i = 0; i < registers.length && at <= MAX_SPARSE_SIZE; ) {
    const first = registers[i]!;
    let run = 1;
    // A neighbour of the same rank is 64 higher: an index is the register without its low 6 bits.
    while (run < MAX_VAL_RUN && registers[i + run] === first + run * 64) run++;
    at = writeZeros(bytes, at, (first >>> 6) - covered);
    bytes[at++] = 0x80 | (((first & 63) - 1) << 2) | (run - 1);
    covered = (first >>> 6) + run;
    i += run;
  }
  at = writeZeros(bytes, at, REGISTERS - covered);
  return at <= MAX_SPARSE_SIZE ? Buffer.from(bytes.subarray(0, at)) : null;
}

function writeZeros(bytes: Uint8Array, at: number, count: number): number {
  if (count === 0) return at;
  if (count <= MAX_ZERO_RUN) {
    bytes[at] = count - 1;
    return at + 1;
  }
  bytes[at] = 0x40 | ((count - 1) >>> 8);
  bytes[at + 1] = count - 1;
  return at + 2;
}

function malformed(found: string, expected: string): Error {
  return new Error(`Cannot decode a sketch: found ${found}, expected ${expected}`);
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function checkHeader(bytes: Uint8Array): void {
  if (bytes.length < HEADER_SIZE) {
    throw malformed(`${bytes.length} bytes in all`, `a header of ${HEADER_SIZE} bytes`);
  }
  const magic = bytes.subarray(0, MAGIC.length);
  if (!MAGIC.equals(magic)) {
    throw malformed(`0x${hex(magic)} at its start`, `0x${hex(MAGIC)} ("${MAGIC}")`);
  }
  const encoding = bytes[MAGIC.length]!;
  if (encoding !== DENSE && encoding !== SPARSE) {
    throw malformed(`encoding ${encoding}`, `${DENSE} (dense) or ${SPARSE} (sparse)`);
  }
  const reserved = bytes.subarray(MAGIC.length + 1, HEADER_SIZE / 2);
  if (reserved.some((byte) => byte !== 0)) throw malformed(`0x${hex(reserved)} at bytes 5 to 7`, "zeros");
}

function addDense(sketch: Sketch, bytes: Uint8Array): void {
  if (bytes.length !== DENSE_SIZE) {
    throw malformed(`${bytes.length} bytes in dense encoding`, `${DENSE_SIZE}`);
  }
  for (let index = 0, at = HEADER_SIZE; index < REGISTERS; index += 4, at += 3) {
    const four = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16);
    for (let i = 0; i < 4; i++) {
      const rank = (four >>> (6 * i)) & 63;
      if (rank > MAX_RANK) throw malformed(`${rank} in register ${index + i}`, `0 to ${MAX_RANK}`);
      if (rank !== 0) sketch.add((index + i) * 64 + rank);
    }
  }
}

/** Terminates for any bytes: a run is never empty, and may not reach past the last register. */
function addSparse(sketch: Sketch, bytes: Uint8Array): void {
  let index = 0;
  for (let at = HEADER_SIZE; at < bytes.length; ) {
    const start = at;
    const code = bytes[at++]!;
    const isVal = code >= 0x80;
    let end = index + 1;
    if (isVal) end += code & 3;
    else if (code < 0x40) end += code;
    else if (at < bytes.length) end += ((code & 63) << 8) | bytes[at++]!;
    else throw malformed(`a run of zeros that is cut off at byte ${start}`, "the second byte of its length");
    if (end > REGISTERS) {
      throw malformed(`a run up to register ${end - 1} at byte ${start}`, `none past ${REGISTERS - 1}`);
    }
    const rank = ((code >>> 2) & 31) + 1;
    for (; isVal && index < end; index++) sketch.add(index * 64 + rank);
    index = end;
  }
  if (index !== REGISTERS) throw malformed(`runs for ${index} registers in all`, `runs for ${REGISTERS}`);
}

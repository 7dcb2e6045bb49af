/**
 * Hashes a user to the register of a sketch that the user raises, under a data set's secret key. Nobody without the key
 * can choose users that collide, or that raise chosen registers.
 *
 * A register is index * 64 + rank: bits 0 to 13 of a 64-bit hash are the index; the rank, 1 to 51, is that of the other
 * 50 bits, lowest bit first, with a one bit added above the highest.
 *
 * The hash is SipHash-2-4 (J.-P. Aumasson, D. J. Bernstein, 2012) over UTF-8. Bun's own functions take a seed at best:
 * wyhash, xxHash and Murmur have collisions under every seed, and HMAC takes 2 to 3 times as long. 64-bit words are
 * kept as two halves: bigint arithmetic would cost more than the hash.
 */
import { INDEX_BITS, MAX_RANK, REGISTERS } from "./sketch.ts";

const LOW_HASH_BITS = 32 - INDEX_BITS;

export const USER_KEY_BYTES = 16;

const utf8 = new TextEncoder();

/** The state: four words, as low and high halves. Shared by all hashes, since a hash never awaits. */
const state = new Int32Array(8);
let bytes = new Uint8Array(1_024);

export class UserHash {
  readonly #key: Int32Array;

  /** `key`: USER_KEY_BYTES random bytes. */
  constructor(key: Uint8Array) {
    if (key.length !== USER_KEY_BYTES) throw new Error(`the user key has ${key.length} bytes, not ${USER_KEY_BYTES}`);
    const view = new DataView(key.buffer, key.byteOffset, key.length);
    this.#key = Int32Array.from([0, 4, 8, 12], (at) => view.getInt32(at, true));
  }

  registerOf(user: string): number {
    this.#hash(encode(user));
    return registerOfHash(state[0]! ^ state[2]! ^ state[4]! ^ state[6]!, state[1]! ^ state[3]! ^ state[5]! ^ state[7]!);
  }

  #hash(length: number): void {
    const low0 = this.#key[0]!;
    const high0 = this.#key[1]!;
    const low1 = this.#key[2]!;
    const high1 = this.#key[3]!;
    state[0] = low0 ^ 0x70736575;
    state[1] = high0 ^ 0x736f6d65;
    state[2] = low1 ^ 0x6e646f6d;
    state[3] = high1 ^ 0x646f7261;
    state[4] = low0 ^ 0x6e657261;
    state[5] = high0 ^ 0x6c796765;
    state[6] = low1 ^ 0x79746573;
    state[7] = high1 ^ 0x74656462;
    const end = length & ~7;
    for (let at = 0; at < end; at += 8) compress(wordAt(at), wordAt(at + 4));
    // The last block holds the remaining bytes and the length.
    bytes.fill(0, length, end + 8);
    bytes[end + 7] = length;
    compress(wordAt(end), wordAt(end + 4));
    state[4] = state[4]! ^ 0xff;
    for (let i = 0; i < 4; i++) round();
  }
}

function encode(user: string): number {
  // A code unit takes 3 bytes at most, and the last block is padded.
  if (bytes.length < user.length * 3 + 8) bytes = new Uint8Array(user.length * 3 + 8);
  for (let i = 0; i < user.length; i++) {
    const code = user.charCodeAt(i);
    if (code > 127) return utf8.encodeInto(user, bytes).written;
    bytes[i] = code;
  }
  return user.length;
}

function wordAt(at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

function compress(low: number, high: number): void {
  state[6] = state[6]! ^ low;
  state[7] = state[7]! ^ high;
  round();
  round();
  state[0] = state[0]! ^ low;
  state[1] = state[1]! ^ high;
}

function round(): void {
  // No destructuring: it left 1 KB of garbage per hash.
  let l0 = state[0]!;
  let h0 = state[1]!;
  let l1 = state[2]!;
  let h1 = state[3]!;
  let l2 = state[4]!;
  let h2 = state[5]!;
  let l3 = state[6]!;
  let h3 = state[7]!;
  let swap: number;
  l0 = (l0 + l1) | 0;
  h0 = (h0 + h1 + carry(l0, l1)) | 0;
  swap = (h1 << 13) | (l1 >>> 19);
  l1 = ((l1 << 13) | (h1 >>> 19)) ^ l0;
  h1 = swap ^ h0;
  l2 = (l2 + l3) | 0;
  h2 = (h2 + h3 + carry(l2, l3)) | 0;
  swap = (h3 << 16) | (l3 >>> 16);
  l3 = ((l3 << 16) | (h3 >>> 16)) ^ l2;
  h3 = swap ^ h2;
  // v0 was rotated by 32 bits: swap its halves.
  swap = h0;
  h0 = (l0 + h3 + carryOf(h0, l3)) | 0;
  l0 = (swap + l3) | 0;
  swap = (h3 << 21) | (l3 >>> 11);
  l3 = ((l3 << 21) | (h3 >>> 11)) ^ l0;
  h3 = swap ^ h0;
  l2 = (l2 + l1) | 0;
  h2 = (h2 + h1 + carry(l2, l1)) | 0;
  swap = (h1 << 17) | (l1 >>> 15);
  l1 = ((l1 << 17) | (h1 >>> 15)) ^ l2;
  h1 = swap ^ h2;
  state[0] = l0;
  state[1] = h0;
  state[2] = l1;
  state[3] = h1;
  // v2 likewise.
  state[4] = h2;
  state[5] = l2;
  state[6] = l3;
  state[7] = h3;
}

/** 1 if adding `addend` to another low half overflowed. */
function carry(sum: number, addend: number): number {
  return sum >>> 0 < addend >>> 0 ? 1 : 0;
}

function carryOf(a: number, b: number): number {
  return (a >>> 0) + (b >>> 0) > 0xffffffff ? 1 : 0;
}

function rankOf(low: number, high: number): number {
  if (low !== 0) return trailingZeros(low) + 1;
  return high === 0 ? MAX_RANK : LOW_HASH_BITS + trailingZeros(high) + 1;
}

function trailingZeros(word: number): number {
  return 31 - Math.clz32(word & -word);
}

/** The register of a 64-bit hash, given as two halves. */
export function registerOfHash(low: number, high: number): number {
  return (low & (REGISTERS - 1)) * 64 + rankOf(low >>> INDEX_BITS, high);
}

/**
 * Redis hashes with MurmurHash64A: its seed, its multiplier, and the inverse of that modulo 2^64. With others, PFADD
 * would raise other registers.
 */
const REDIS_MURMUR_SEED = 0xadc83b19n;
const REDIS_MURMUR_MULTIPLIER = 0xc6a4a7935bd1e995n;
const REDIS_MURMUR_INVERSE = 0x5f7a0ea7e59b19bdn;
const ELEMENT_BYTES = 8;

/**
 * 8 bytes that raise this register when passed to PFADD, whose hash is invertible. So Redis receives no users and need
 * not know how they are hashed. Takes 1 µs, only for the few events that raise a register.
 */
export function elementOf(register: number): Buffer {
  const word = (value: bigint) => BigInt.asUintN(64, value);
  const shifted = (value: bigint) => value ^ (value >> 47n);
  const wanted = BigInt(register >>> 6) | (1n << BigInt(INDEX_BITS - 1 + (register & 63)));
  const mixed = word(shifted(word(shifted(word(wanted)) * REDIS_MURMUR_INVERSE)) * REDIS_MURMUR_INVERSE);
  const key = mixed ^ word(REDIS_MURMUR_SEED ^ word(BigInt(ELEMENT_BYTES) * REDIS_MURMUR_MULTIPLIER));
  const element = Buffer.alloc(ELEMENT_BYTES);
  element.writeBigUInt64LE(word(shifted(word(key * REDIS_MURMUR_INVERSE)) * REDIS_MURMUR_INVERSE));
  return element;
}

/** SipHash-2-4 against its authors' test vectors, and the purpose of the key. */
import { expect, test } from "bun:test";
import { Sketch } from "../../../src/domain/unique-users/sketch.ts";
import { USER_KEY_BYTES, UserHash } from "../../../src/domain/unique-users/user-hash.ts";
import { registerOf, usersChosenByPublicHash } from "../../harness/pipeline/test-users.ts";

/** The hashes of "", 00, 00 01, … under the key 00 01 … 0f: `vectors.h` of the reference implementation. */
const VECTORS = [
  "726fdb47dd0e0e31",
  "74f839c593dc67fd",
  "0d6c8009d9a94f5a",
  "85676696d7fb7e2d",
  "cf2794e0277187b7",
  "18765564cd99a68d",
  "cbc9466e58fee3ce",
  "ab0200f58b01d137",
  "93f5f5799a932462",
  "9e0082df0ba9e4b0",
  "7a5dbbc594ddb9f3",
  "f4b32f46226bada7",
  "751e8fbc860ee5fb",
  "14ea5627c0843d90",
  "f723ca908e7af2ee",
  "a129ca6149be45e5",
];

const keyOf = (byteAt: (i: number) => number) =>
  new UserHash(Uint8Array.from({ length: USER_KEY_BYTES }, (_, i) => byteAt(i)));

/** The register for a whole hash. */
function registerIn(hash: bigint): number {
  let rank = 1;
  for (let rest = hash >> 14n; rank < 51 && (rest & 1n) === 0n; rest >>= 1n) rank++;
  return Number(hash & 16383n) * 64 + rank;
}

test("hashes as the authors of SipHash-2-4 do", () => {
  const hash = keyOf((i) => i);
  const registers = VECTORS.map((_, length) => {
    return hash.registerOf(String.fromCharCode(...Array.from({ length }, (_, i) => i)));
  });
  expect(registers).toEqual(VECTORS.map((vector) => registerIn(BigInt(`0x${vector}`))));
});

test("takes users of any length and alphabet as UTF-8", () => {
  const hash = keyOf((i) => i * 7);
  const users = ["ann", "Zoë", "пользователь", "👩‍🚀", "x".repeat(255), "é".repeat(2_000), "\ud800"];
  const registers = users.map((user) => hash.registerOf(user));
  expect(users.map((user) => hash.registerOf(Buffer.from(user).toString()))).toEqual(registers);
  expect(new Set(registers).size).toBe(users.length);
});

test("16,384 users that were chosen by the public hash of Redis count as 16,384", () => {
  const chosen = usersChosenByPublicHash();
  expect(chosen).toHaveLength(16_384);
  const [byRedis, byKey, hash] = [new Sketch(), new Sketch(), keyOf((i) => 200 - i)];
  for (const user of chosen) {
    byRedis.add(registerOf(user));
    byKey.add(hash.registerOf(user));
  }
  expect(byRedis.count()).toBeGreaterThan(150_000);
  expect(Math.abs(byKey.count() - 16_384)).toBeLessThan(3 * 0.0081 * 16_384);
});

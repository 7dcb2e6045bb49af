/** The user key in every data set of tests: known, so that tests can tell what a sketch must hold. */
import { Database } from "bun:sqlite";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { registerOfHash, USER_KEY_BYTES, UserHash } from "../../../src/domain/unique-users/user-hash.ts";
import type { DataSet } from "../../../src/store/cold.ts";

const REGISTERS = 16_384;

export const TEST_USER_KEY = new Uint8Array(USER_KEY_BYTES).fill(7);
export const TEST_USERS = new UserHash(TEST_USER_KEY);

export const TEST_DATA_SET: DataSet = {
  identity: "00000000-0000-4000-8000-000000000000",
  userKey: TEST_USER_KEY,
};
const KEY_HEX = Buffer.from(TEST_USER_KEY).toString("hex");
const ROW = `(id, identity, user_key) VALUES (1, '${TEST_DATA_SET.identity}', x'${KEY_HEX}')`;

const hash = new BigUint64Array(1);
const hashHalves = new Uint32Array(hash.buffer);

/** The register that PFADD raises: Redis hashes with MurmurHash64A over UTF-8. */
export function registerOf(user: string | Uint8Array): number {
  hash[0] = Bun.hash.murmur64v2(user, 0xadc83b19n);
  return registerOfHash(hashHalves[0]!, hashHalves[1]!);
}

/**
 * One user for each of the 16,384 registers, of a rank as high as 200,000 names have one under the public hash of
 * Redis' HyperLogLog: a sketch under that hash takes them for more than 150,000.
 */
export function usersChosenByPublicHash(): string[] {
  const chosen = new Map<number, { readonly user: string; readonly rank: number }>();
  for (let i = 0; i < 200_000 || chosen.size < REGISTERS; i++) {
    const user = `u${i.toString(36)}`;
    const register = registerOf(user);
    const [index, rank] = [register >>> 6, register & 63];
    if ((chosen.get(index)?.rank ?? 0) < rank) chosen.set(index, { user, rank });
  }
  return Array.from(chosen.values(), ({ user }) => user);
}

/** For an empty database, before any instance opens it. */
export function presetInMysql(database: string): readonly string[] {
  const table = `\`${database}\`.data_set`;
  return [
    `CREATE TABLE ${table} (id TINYINT UNSIGNED NOT NULL,
       identity CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, user_key BINARY(16) NOT NULL, PRIMARY KEY (id)
     ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin`,
    `INSERT INTO ${table} ${ROW}`,
  ];
}

/** For a folder without data. */
export function presetInFolder(dataDir: string): void {
  mkdirSync(dataDir, { recursive: true });
  const database = new Database(join(dataDir, "cold.sqlite"), { create: true, strict: true });
  database.run(`CREATE TABLE IF NOT EXISTS data_set (
    id INTEGER PRIMARY KEY CHECK (id = 1), identity TEXT NOT NULL, user_key BLOB NOT NULL) STRICT`);
  database.run(`INSERT OR IGNORE INTO data_set ${ROW}`);
  database.close();
}

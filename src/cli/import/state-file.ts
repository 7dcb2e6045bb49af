/**
 * Records in an SQLite file how far contents are imported. Each change is on disk (fsync) before the next step.
 *
 * A content is identified by the hash of everything sent from it. So a file is recognized after it was renamed, moved,
 * compressed or appended to. A file that replaced it is a different content. Size, time and name would show neither.
 * Hashes of its first lines tell a file that was changed from one that replaced it, and number those that begin alike.
 *
 * Invariant: the file is locked while it is open, so two imports never change a record concurrently.
 */
import { Database } from "bun:sqlite";
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { errorText } from "../../runtime/error-text.ts";
import { ImportError } from "./import-error.ts";

/** How much of a content's beginning is hashed apart; more than a few lines. */
export const HEAD_BYTES = 4_096;

/** Where reading may resume. */
export interface Mark {
  readonly offset: number;
  readonly line: number;
  /** See records-and-ids.ts. */
  readonly chain: Uint8Array;
}

/** Where events were sent. The same content may be imported into several targets. */
export interface Target {
  readonly url: string;
  readonly stream: string;
}

export interface ImportRecord {
  readonly number: number | undefined;
  readonly path: string;
  /** Length and hash of the content's beginning, to rule out other contents without reading all of them. */
  readonly headBytes: number;
  readonly headSha256: Uint8Array;
  /** All events before it are counted. */
  readonly counted: Mark;
  /** No event after it was ever sent. The hash covers the content up to here. */
  readonly sentBytes: number;
  readonly sentSha256: Uint8Array;
  /** No event between `counted` and `sentBytes` was sent before this time (ms since the epoch). */
  readonly sentAt: number;
  /** How many different contents that begin with the same line were imported before. */
  readonly namesake: number;
  /** When the first of its events was sent; null: none was. */
  readonly begunAt: number | null;
  /** The options that decide which of its lines count. */
  readonly options: string;
  readonly uncounted: Uncounted;
}

/** The lines before `counted` that do not count. */
export interface Uncounted {
  /** They could not be read, or break a rule. */
  readonly bad: number;
  /** The service refused them, which may change. */
  readonly refused: number;
  readonly leftOut: number;
}

type Row = Omit<ImportRecord, "counted" | "uncounted"> & Mark & Uncounted;

const SELECT = `
  SELECT import AS number, path, head_bytes AS headBytes, head_sha256 AS headSha256, counted_bytes AS offset,
    counted_line AS line, chain, sent_bytes AS sentBytes, sent_sha256 AS sentSha256, sent_at AS sentAt,
    namesake, begun_at AS begunAt, options, bad, refused, left_out AS leftOut
  FROM imports WHERE url = ? AND stream = ? ORDER BY sent_bytes`;

const SELECT_HASHES = "SELECT line_hashes AS hashes FROM imports WHERE url = ? AND stream = ? AND path = ?";

const SELECT_NAMESAKES = `
  SELECT MAX(namesake) + 1 AS count FROM imports WHERE url = ? AND stream = ? AND substr(line_hashes, 1, ?) = ?`;

const VERSION = 2;
const SCHEMA = `
  CREATE TABLE imports (
    import INTEGER PRIMARY KEY,
    url TEXT NOT NULL,
    stream TEXT NOT NULL,
    path TEXT NOT NULL,
    head_bytes INTEGER NOT NULL,
    head_sha256 BLOB NOT NULL,
    line_hashes BLOB NOT NULL,
    counted_bytes INTEGER NOT NULL,
    counted_line INTEGER NOT NULL,
    chain BLOB NOT NULL,
    sent_bytes INTEGER NOT NULL,
    sent_sha256 BLOB NOT NULL,
    sent_at INTEGER NOT NULL,
    namesake INTEGER NOT NULL,
    begun_at INTEGER,
    options TEXT NOT NULL,
    bad INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    left_out INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX imports_by_target ON imports (url, stream);
  PRAGMA user_version = ${VERSION};
`;
const SAVE = `
  REPLACE INTO imports VALUES ($number, $url, $stream, $path, $headBytes, $headSha256, $lineHashes, $offset, $line,
    $chain, $sentBytes, $sentSha256, $sentAt, $namesake, $begunAt, $options, $bad, $refused, $leftOut)
  RETURNING import`;

export class StateFile {
  readonly #path: string;
  readonly #database: Database;

  constructor(path: string) {
    this.#path = path;
    try {
      mkdirSync(dirname(path), { recursive: true });
      this.#database = openDatabase(path);
    } catch (error) {
      const advice = errorText(error).includes("locked")
        ? "another import is using it: wait until it ends, or use another --state"
        : "--state must be an import's state file, or a new file in a writable folder";
      throw new ImportError(`cannot open the state file ${path}: ${errorText(error)}; ${advice}`);
    }
  }

  records({ url, stream }: Target): ImportRecord[] {
    const rows = this.#database.query<Row, [string, string]>(SELECT).all(url, stream);
    return rows.map(({ offset, line, chain, bad, refused, leftOut, ...record }) => ({
      ...record,
      counted: { offset, line, chain },
      uncounted: { bad, refused, leftOut },
    }));
  }

  /** The line hashes (earlier.ts) of each content that was imported from there. */
  lineHashesAt({ url, stream }: Target, path: string): Uint8Array[] {
    const query = this.#database.query<{ hashes: Uint8Array }, [string, string, string]>(SELECT_HASHES);
    return query.all(url, stream, path).map(({ hashes }) => hashes);
  }

  /** How many contents were imported that begin with the same line. `lineHash`: of the line. */
  namesakes({ url, stream }: Target, lineHash: Uint8Array): number {
    const query = this.#database.query<{ count: number | null }, [string, string, number, Uint8Array]>(
      SELECT_NAMESAKES,
    );
    return query.get(url, stream, lineHash.length, lineHash)?.count ?? 0;
  }

  /** Returns the record's number. Throws ImportError. */
  save(target: Target, record: ImportRecord, lineHashes: Uint8Array): number {
    const { number = null, counted, uncounted, ...rest } = record;
    const values = { ...target, number, ...rest, ...counted, ...uncounted, lineHashes };
    try {
      return this.#database.query<{ import: number }, [typeof values]>(SAVE).get(values)!.import;
    } catch (error) {
      const next = "fix that and run it again: it resumes where it stopped";
      throw new ImportError(`cannot write the state file ${this.#path}: ${errorText(error)}; ${next}`);
    }
  }

  close(): void {
    this.#database.close();
  }
}

function openDatabase(path: string): Database {
  const database = new Database(path, { create: true, strict: true });
  try {
    // The first write takes the lock for good.
    database.run("PRAGMA locking_mode = EXCLUSIVE");
    database.run("PRAGMA journal_mode = WAL");
    database.run("PRAGMA synchronous = FULL");
    database.run("BEGIN IMMEDIATE");
    const { user_version: version } = database.query("PRAGMA user_version").get() as { user_version: number };
    if (version === 0) database.run(SCHEMA);
    else if (version !== VERSION) throw new Error(`its version is ${version}, this build reads ${VERSION}`);
    database.run("COMMIT");
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

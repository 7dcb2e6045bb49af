/**
 * A connection to either database, for the roles whose statements are the same in both. Texts of users are bytes in
 * MySQL and strings in SQLite: `toString()` reads both.
 */
export type SqlValue = string | number | Uint8Array | null;

export interface SqlSession {
  rows<Row>(sql: string, values?: SqlValue[]): Promise<Row[]>;
  /** How many rows an INSERT inserted, or the condition of an UPDATE or DELETE matched. */
  matched(sql: string, values?: SqlValue[]): Promise<number>;
}

/** Runs work on a session. Whatever fails is thrown as a ColdUnavailableError that says what was tried. */
export type RunSql = <T>(what: string, work: (session: SqlSession) => Promise<T>) => Promise<T>;

export interface Sql {
  readonly read: RunSql;
  /** Runs work of one statement: MySQL has no transaction around it. */
  readonly change: RunSql;
  /** An expression: the ISO 8601 text of a time. */
  readonly isoTime: (column: string) => string;
  /** A user's text as a value. */
  readonly userValue: (text: string) => SqlValue;
}

/** Bytes in MySQL. */
export type SqlText = string | Buffer;

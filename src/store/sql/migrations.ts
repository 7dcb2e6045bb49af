/**
 * Numbered migrations, and which of them a database lacks.
 *
 * Invariant: versions 1, 2, 3, … are applied in order. A database of a newer build is left untouched.
 */
export interface Migration {
  readonly version: number;
  readonly name: string;
  readonly statements: readonly string[];
}

/** A semicolon at the end of a line of `sql` ends a statement, and `--` begins a comment line. */
export function migration(version: number, name: string, sql: string): Migration {
  const code = sql.replaceAll(/^--.*\n/gm, "");
  const statements = code.split(/;\s*$/m).map((statement) => statement.trim());
  return { version, name, statements: statements.filter((statement) => statement !== "") };
}

/**
 * `tables`: all that the database has. Throws if it is newer than `known`, or lacks a table that it once had: made
 * anew, it would be empty, and nobody would learn what is lost.
 */
export function pendingMigrations(
  known: readonly Migration[],
  applied: readonly number[],
  tables: readonly string[],
): Migration[] {
  const newest = Math.max(0, ...applied);
  if (newest > known.length) {
    throw new Error(
      `the database is at schema version ${newest}, this build knows versions up to ${known.length}: ` +
        "it was used by a newer build, so start that one",
    );
  }
  const isApplied = ({ version }: Migration) => applied.includes(version);
  const missing = known
    .filter(isApplied)
    .flatMap(tablesOf)
    .filter((table) => !tables.includes(table));
  if (missing.length === 0) return known.filter((candidate) => !isApplied(candidate));
  throw new Error(
    `the database lacks ${missing.join(", ")}, which it once had: restore it from a backup, or start with an empty one`,
  );
}

function tablesOf({ statements }: Migration): string[] {
  return statements.flatMap((statement) => /^CREATE TABLE (?:IF NOT EXISTS )?(\w+)/.exec(statement)?.[1] ?? []);
}

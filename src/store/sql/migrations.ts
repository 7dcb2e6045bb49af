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

/** Throws if the database is newer than `known`. */
export function pendingMigrations(known: readonly Migration[], applied: readonly number[]): Migration[] {
  const newest = Math.max(0, ...applied);
  if (newest > known.length) {
    throw new Error(
      `the database is at schema version ${newest}, this build knows versions up to ${known.length}: ` +
        "it was used by a newer build, so start that one",
    );
  }
  return known.filter((candidate) => !applied.includes(candidate.version));
}

/** The files of DATA_DIR: SQLite keeps others beside them, whose names begin with theirs. */
import { statSync } from "node:fs";
import { codeOf, errorText } from "../../runtime/error-text.ts";

export const JOURNAL_FILE = "journal.sqlite";
export const COLD_FILE = "cold.sqlite";
/** Below this size SQLite's log is overwritten, not truncated. */
export const LOG_SIZE_LIMIT_BYTES = 16_777_216;

const FOLDER_ADVICE = "DATA_DIR must be a folder that this process may write to";
const DAMAGED_ADVICE =
  "the file is damaged: restore DATA_DIR from a backup, or move the file away to start without what only it holds";
const FOREIGN_ADVICE = "the file is another program's database: move it away, or set DATA_DIR to a folder of its own";
const DAMAGED_CODES = ["SQLITE_NOTADB", "SQLITE_CORRUPT"];

/** What to do about a file that could not be opened, or migrated; undefined if the error itself says so. */
export function openingAdvice(error: unknown): string | undefined {
  const code = codeOf(error);
  if (code === "") return undefined;
  if (DAMAGED_CODES.some((damaged) => code.startsWith(damaged))) return DAMAGED_ADVICE;
  // A migration found a table that none of this program's made.
  return /^table \w+ already exists\b/.test(errorText(error)) ? FOREIGN_ADVICE : FOLDER_ADVICE;
}

/** Tells whether a path still leads to the file that was opened. Takes about 5 µs. Undefined if there is no file. */
export function identityOf(path: string): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  return found && `${found.dev}:${found.ino}`;
}

/** Says what to do about a file of DATA_DIR that could not be opened. */

const FOLDER_ADVICE = "DATA_DIR must be a folder that this process may write to";
const DAMAGED_ADVICE =
  "the file is damaged: restore DATA_DIR from a backup, or move the file away to start without what only it holds";
const DAMAGED_CODES = ["SQLITE_NOTADB", "SQLITE_CORRUPT"];

export function openingAdvice(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return DAMAGED_CODES.some((damaged) => code.startsWith(damaged)) ? DAMAGED_ADVICE : FOLDER_ADVICE;
}

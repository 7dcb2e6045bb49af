/** The files of DATA_DIR. SQLite keeps others beside them, whose names begin with these. */
export const JOURNAL_FILE = "journal.sqlite";
export const COLD_FILE = "cold.sqlite";

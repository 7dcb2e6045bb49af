-- Rows that the table of events refused, and why. writer, seq and ordinal: the key that the row has when it is
-- replayed. Numbers are not used again, so that one that was dropped is never another.
CREATE TABLE dead_letters (
  dead_letter INTEGER PRIMARY KEY AUTOINCREMENT,
  hour INTEGER NOT NULL,
  stream TEXT NOT NULL,
  writer INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  ordinal INTEGER NOT NULL,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  user TEXT NOT NULL,
  id TEXT,
  reason TEXT NOT NULL,
  set_aside_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ'))
) STRICT;

CREATE INDEX dead_letters_by_hour ON dead_letters (hour);

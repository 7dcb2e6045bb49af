-- What came from a queue and could not become an event, as it came, and why. digest: SHA-256 of what it is and
-- where from, so that a message that is delivered again is set aside once. position: of the event within its
-- message; null: the message as a whole. event_id: the id that the event has if it names none.
CREATE TABLE poison (
  poison INTEGER PRIMARY KEY AUTOINCREMENT,
  digest TEXT NOT NULL UNIQUE,
  origin TEXT NOT NULL,
  message_id TEXT,
  position INTEGER,
  event_id TEXT,
  body TEXT NOT NULL,
  reason TEXT NOT NULL,
  set_aside_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ'))
) STRICT;

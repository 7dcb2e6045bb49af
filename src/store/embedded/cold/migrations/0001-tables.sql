-- id stands for the writer in every row of events. seq is the watermark: the last batch stored; events: how many rows
-- its batches made. The watermark of a sealed writer no longer moves.
CREATE TABLE writers (
  id INTEGER PRIMARY KEY,
  writer TEXT NOT NULL UNIQUE,
  seq INTEGER NOT NULL,
  events INTEGER NOT NULL DEFAULT 0,
  sealed INTEGER NOT NULL DEFAULT 0,
  updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ'))
) STRICT;

-- What identifies this data, and the key under which users enter its sketches: one row, which never changes. With
-- another key every sketch would count each user of before and after twice.
CREATE TABLE IF NOT EXISTS data_set (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  identity TEXT NOT NULL,
  user_key BLOB NOT NULL
) STRICT;

-- How often the hot data set was initialized. Moved in the transaction that seals all writers.
CREATE TABLE epochs (
  shard INTEGER PRIMARY KEY,
  epoch INTEGER NOT NULL
) STRICT;

-- Small rows under a wide key: without a rowid there is one tree to write instead of two.
CREATE TABLE events (
  hour INTEGER NOT NULL,
  stream TEXT NOT NULL,
  writer INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  ordinal INTEGER NOT NULL,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('click', 'impression')),
  user TEXT NOT NULL,
  id TEXT,
  PRIMARY KEY (hour, stream, writer, seq, ordinal)
) STRICT, WITHOUT ROWID;

-- An hour is the sum of its rows: SUM(clicks), and the union of the sketches. viewers_sketch holds the users with an
-- impression, clickers_sketch those with a click. A flush appends rows, each with its writer and last batch; now and
-- then they are folded into one, with writer and seq 0. With a rowid: rows of 24 KB would leave a tree of keys with one
-- row a page.
CREATE TABLE hourly (
  hour INTEGER NOT NULL,
  stream TEXT NOT NULL,
  writer INTEGER NOT NULL DEFAULT 0,
  seq INTEGER NOT NULL DEFAULT 0,
  clicks INTEGER NOT NULL,
  impressions INTEGER NOT NULL,
  viewers_sketch BLOB NOT NULL,
  clickers_sketch BLOB NOT NULL,
  PRIMARY KEY (hour, stream, writer, seq)
) STRICT;

-- For series of one stream, or of a branch of streams: by the primary key every stream's hours would be read.
CREATE INDEX hourly_by_stream ON hourly (stream, hour);

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

-- From which hour on rows, and aggregates, are retained: one row. It only moves forward, and does so before anything is
-- deleted, so that a reader who misses rows can tell why.
CREATE TABLE retention (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  rows_from INTEGER NOT NULL,
  aggregates_from INTEGER NOT NULL
) STRICT;
INSERT INTO retention (id, rows_from, aggregates_from) VALUES (1, 0, 0);

-- How many events of an hour were erased because their user asked to be forgotten: rows + these = the aggregate. Moved
-- in the transaction that deletes the rows. Nothing here tells who the user was.
CREATE TABLE erased_events (
  hour INTEGER NOT NULL,
  stream TEXT NOT NULL,
  clicks INTEGER NOT NULL,
  impressions INTEGER NOT NULL,
  dead_letters INTEGER NOT NULL,
  PRIMARY KEY (hour, stream)
) STRICT, WITHOUT ROWID;

-- Of a key's secret only the hash is stored. scopes and streams are lists separated by commas, no streams means all;
-- times are milliseconds since the epoch.
CREATE TABLE api_keys (
  id TEXT PRIMARY KEY,
  sha256 TEXT NOT NULL,
  name TEXT NOT NULL,
  scopes TEXT NOT NULL,
  streams TEXT NOT NULL,
  rate_limit TEXT,
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  revoked_at INTEGER
) STRICT, WITHOUT ROWID;

-- Messages from a queue that could not become an event, as they came, and why. digest: SHA-256 of content and origin,
-- so that a message that is delivered again is set aside once. position: of the event within its message; null: the
-- message as a whole. event_id: the id that the event has if it names none.
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

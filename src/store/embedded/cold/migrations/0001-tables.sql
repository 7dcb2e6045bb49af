-- id stands for the writer in every row of events. seq is the watermark, the last stored batch; events: the number of
-- rows of its batches. A sealed writer's watermark no longer moves.
CREATE TABLE writers (
  id INTEGER PRIMARY KEY,
  writer TEXT NOT NULL UNIQUE,
  seq INTEGER NOT NULL,
  events INTEGER NOT NULL DEFAULT 0,
  sealed INTEGER NOT NULL DEFAULT 0,
  updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ'))
) STRICT;

-- The identity of this data, and the key under which users enter its sketches: one row that never changes. Under
-- another key, a returning user would count twice.
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

-- Small rows with a wide key: without a rowid, only one tree is written.
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

-- An hour is the sum of its rows: SUM(clicks), and the union of the sketches. viewers_sketch has the users with an
-- impression, clickers_sketch those with a click. A flush appends rows, each with its writer and last batch; from time
-- to time they are folded into one, with writer and seq 0. With a rowid: rows of 24 KB would leave a key tree with one
-- row per page.
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

-- For series of one stream or prefix: the primary key would read the hours of every stream.
CREATE INDEX hourly_by_stream ON hourly (stream, hour);

-- Rows that the table events refused, and why. writer, seq and ordinal: the row's key once it is replayed. Numbers are
-- never reused, so a dropped letter's number never means another one.
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

-- The hours from which rows and aggregates are retained: one row. It only moves forward, before anything is deleted, so
-- that a reader who misses rows can tell why.
CREATE TABLE retention (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  rows_from INTEGER NOT NULL,
  aggregates_from INTEGER NOT NULL
) STRICT;
INSERT INTO retention (id, rows_from, aggregates_from) VALUES (1, 0, 0);

-- How many events of an hour were erased because their user asked to be forgotten: rows + these = the aggregate. Moved
-- in the transaction that deletes the rows. Nothing here identifies the user.
CREATE TABLE erased_events (
  hour INTEGER NOT NULL,
  stream TEXT NOT NULL,
  clicks INTEGER NOT NULL,
  impressions INTEGER NOT NULL,
  dead_letters INTEGER NOT NULL,
  PRIMARY KEY (hour, stream)
) STRICT, WITHOUT ROWID;

-- Only the hash of a key's secret is stored. scopes and streams are comma-separated lists; no streams means all. Times
-- are milliseconds since the epoch.
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

-- Messages from a broker that could not become events, unchanged, and why. digest: SHA-256 of content and origin, so
-- that a redelivered message is set aside once. position: the event's position within its message; null: the whole
-- message. event_id: the event's id if it names none itself.
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

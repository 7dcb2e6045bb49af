CREATE TABLE writers (
  id INTEGER PRIMARY KEY,
  writer TEXT NOT NULL UNIQUE,
  seq INTEGER NOT NULL,
  events INTEGER NOT NULL DEFAULT 0,
  sealed INTEGER NOT NULL DEFAULT 0,
  updated_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ'))
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

-- With a rowid: rows of 12 KB would leave a tree of keys with one row a page.
CREATE TABLE hourly (
  hour INTEGER NOT NULL,
  stream TEXT NOT NULL,
  clicks INTEGER NOT NULL,
  impressions INTEGER NOT NULL,
  unique_users INTEGER NOT NULL,
  users_sketch BLOB NOT NULL,
  PRIMARY KEY (hour, stream)
) STRICT;

-- MySQL commits at each of these statements. An interrupted migration runs again from its start, so every statement
-- must be harmless the second time. This file may be edited until the first release; later changes need a new file,
-- listed in migrate-schema.ts, since databases that have applied this one never read it again.

-- id stands for the writer in every row of events: 4 bytes instead of its name. seq is the watermark, the last stored
-- batch; events: the number of rows of its batches. A sealed writer's watermark no longer moves. A writer belongs to
-- one shard; epoch: the shard's epoch at the writer's first flush.
CREATE TABLE IF NOT EXISTS writers (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT,
  writer VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  shard SMALLINT UNSIGNED NOT NULL DEFAULT 0,
  epoch INT UNSIGNED NOT NULL DEFAULT 0,
  seq BIGINT UNSIGNED NOT NULL,
  events BIGINT UNSIGNED NOT NULL DEFAULT 0,
  sealed TINYINT UNSIGNED NOT NULL DEFAULT 0,
  updated_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
  PRIMARY KEY (id),
  UNIQUE KEY writers_by_name (writer)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The number of shards that the data is divided into: one row, written by the first instance, which never changes.
CREATE TABLE IF NOT EXISTS shards (
  id TINYINT UNSIGNED NOT NULL,
  shard_count SMALLINT UNSIGNED NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The identity of this data, and the key under which users enter its sketches: one row, written by the first instance,
-- that never changes. Under another key, a returning user would count twice.
CREATE TABLE IF NOT EXISTS data_set (
  id TINYINT UNSIGNED NOT NULL,
  identity CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  user_key BINARY(16) NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- How often each shard's hot data set was initialized. Moved in the transaction that seals the shard's writers.
CREATE TABLE IF NOT EXISTS epochs (
  shard SMALLINT UNSIGNED NOT NULL,
  epoch INT UNSIGNED NOT NULL,
  PRIMARY KEY (shard)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Event ids of the last 24 hours, a row or more per flush that had any. They are restored from here into a Redis that
-- lost its data. ids: JSON [[stream, [id, …]], …], compressed with zstd.
CREATE TABLE IF NOT EXISTS flushed_ids (
  flushed_at BIGINT UNSIGNED NOT NULL,
  writer INT UNSIGNED NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  piece SMALLINT UNSIGNED NOT NULL,
  shard SMALLINT UNSIGNED NOT NULL,
  id_count INT UNSIGNED NOT NULL,
  ids MEDIUMBLOB NOT NULL,
  PRIMARY KEY (flushed_at, writer, seq, piece)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- user and id are bytes: no collation shared by MySQL and MariaDB distinguishes 'a' from 'a ', so COUNT(DISTINCT user)
-- would be wrong. To read them: CONVERT(user USING utf8mb4). The primary key is the second safeguard against storing a
-- batch twice; the first is writers.seq.
CREATE TABLE IF NOT EXISTS events (
  hour BIGINT UNSIGNED NOT NULL,
  stream VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  writer INT UNSIGNED NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  ordinal INT UNSIGNED NOT NULL,
  at BIGINT UNSIGNED NOT NULL,
  kind ENUM('click', 'impression') CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  user VARBINARY(255) NOT NULL,
  id VARBINARY(255) NULL,
  PRIMARY KEY (hour, stream, writer, seq, ordinal)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin
PARTITION BY RANGE (hour) (PARTITION pmax VALUES LESS THAN MAXVALUE);

-- An hour is the sum of its rows: SUM(clicks), and the union of the sketches. viewers_sketch has the users with an
-- impression, clickers_sketch those with a click. Each shard has a first row, with writer and seq 0. A flush appends
-- rows, each with its writer and last batch, so flushes never wait for each other; from time to time they are folded
-- into the first row. hourly_by_stream: for series of one stream or prefix, since the primary key would read the hours
-- of every stream.
CREATE TABLE IF NOT EXISTS hourly (
  hour BIGINT UNSIGNED NOT NULL,
  stream VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  shard SMALLINT UNSIGNED NOT NULL DEFAULT 0,
  writer INT UNSIGNED NOT NULL DEFAULT 0,
  seq BIGINT UNSIGNED NOT NULL DEFAULT 0,
  clicks BIGINT UNSIGNED NOT NULL,
  impressions BIGINT UNSIGNED NOT NULL,
  viewers_sketch BLOB NOT NULL,
  clickers_sketch BLOB NOT NULL,
  PRIMARY KEY (hour, stream, shard, writer, seq),
  KEY hourly_by_stream (stream, hour)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Rows that the table events refused, and why. The columns accept more than those of events, so nothing refused there
-- is refused here. writer, seq and ordinal: the row's key once it is replayed.
CREATE TABLE IF NOT EXISTS dead_letters (
  dead_letter BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  hour BIGINT UNSIGNED NOT NULL,
  stream VARBINARY(255) NOT NULL,
  writer INT UNSIGNED NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  ordinal INT UNSIGNED NOT NULL,
  at BIGINT UNSIGNED NOT NULL,
  kind VARBINARY(255) NOT NULL,
  user BLOB NOT NULL,
  id BLOB NULL,
  reason VARCHAR(500) NOT NULL,
  set_aside_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  PRIMARY KEY (dead_letter),
  KEY dead_letters_by_hour (hour)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The hours from which rows and aggregates are retained: one row. It only moves forward, before anything is deleted, so
-- that a reader who misses rows can tell why.
CREATE TABLE IF NOT EXISTS retention (
  id TINYINT UNSIGNED NOT NULL,
  rows_from BIGINT UNSIGNED NOT NULL,
  aggregates_from BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT IGNORE INTO retention (id, rows_from, aggregates_from) VALUES (1, 0, 0);

-- How many events of an hour were erased because their user asked to be forgotten: rows + these = the aggregate. Moved
-- in the transaction that deletes the rows. Nothing here identifies the user.
CREATE TABLE IF NOT EXISTS erased_events (
  hour BIGINT UNSIGNED NOT NULL,
  stream VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  shard SMALLINT UNSIGNED NOT NULL DEFAULT 0,
  clicks BIGINT UNSIGNED NOT NULL,
  impressions BIGINT UNSIGNED NOT NULL,
  dead_letters BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (hour, stream, shard)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Only the hash of a key's secret is stored. scopes and streams are comma-separated lists; no streams means all. Times
-- are milliseconds since the epoch.
CREATE TABLE IF NOT EXISTS api_keys (
  id CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  sha256 CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  name VARCHAR(100) NOT NULL,
  scopes VARCHAR(100) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  streams VARCHAR(4000) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  rate_limit VARCHAR(20) CHARACTER SET ascii COLLATE ascii_bin NULL,
  created_at BIGINT UNSIGNED NOT NULL,
  expires_at BIGINT UNSIGNED NULL,
  revoked_at BIGINT UNSIGNED NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Messages from a broker that could not become events, unchanged, and why. digest: SHA-256 of content and origin, so
-- that a redelivered message is set aside once. position: the event's position within its message; null: the whole
-- message. event_id: the event's id if it names none itself.
CREATE TABLE IF NOT EXISTS poison (
  poison BIGINT UNSIGNED NOT NULL AUTO_INCREMENT,
  digest BINARY(32) NOT NULL,
  origin VARBINARY(300) NOT NULL,
  message_id VARBINARY(300) NULL,
  position INT UNSIGNED NULL,
  event_id VARBINARY(255) NULL,
  body MEDIUMBLOB NOT NULL,
  reason VARCHAR(500) NOT NULL,
  set_aside_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  PRIMARY KEY (poison),
  UNIQUE KEY poison_by_digest (digest)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

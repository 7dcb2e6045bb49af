-- MySQL ends a transaction at each of these statements: a migration that was cut off half way is run again
-- from its start, so every statement has to be harmless the second time.

-- id stands for the writer in every row of events: 4 bytes instead of its name. seq is the watermark: the last
-- batch stored; events: how many rows its batches made. A sealed writer's watermark moves no more.
CREATE TABLE IF NOT EXISTS writers (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT,
  writer VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  seq BIGINT UNSIGNED NOT NULL,
  events BIGINT UNSIGNED NOT NULL DEFAULT 0,
  sealed TINYINT UNSIGNED NOT NULL DEFAULT 0,
  updated_at DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
  PRIMARY KEY (id),
  UNIQUE KEY writers_by_name (writer)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- user and id are bytes: no collation that both MySQL and MariaDB have tells 'a' from 'a ', so that
-- COUNT(DISTINCT user) would not be the number of users. To read them: CONVERT(user USING utf8mb4).
-- The primary key is the second line against storing a batch twice; the first is writers.seq.
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

CREATE TABLE IF NOT EXISTS hourly (
  hour BIGINT UNSIGNED NOT NULL,
  stream VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  clicks BIGINT UNSIGNED NOT NULL,
  impressions BIGINT UNSIGNED NOT NULL,
  unique_users BIGINT UNSIGNED NOT NULL,
  users_sketch BLOB NOT NULL,
  PRIMARY KEY (hour, stream)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- From which hour on rows, and aggregates, are kept: one row. It only ever moves on, and it does so before anything
-- is dropped, so that whoever misses rows can tell why.
CREATE TABLE IF NOT EXISTS retention (
  id TINYINT UNSIGNED NOT NULL,
  rows_from BIGINT UNSIGNED NOT NULL,
  aggregates_from BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT IGNORE INTO retention (id, rows_from, aggregates_from) VALUES (1, 0, 0);

-- How many events of an hour were erased, since their user was forgotten: rows + these = the aggregate. Moved in the
-- transaction that deletes the rows. Nothing here tells who it was.
CREATE TABLE IF NOT EXISTS erased_events (
  hour BIGINT UNSIGNED NOT NULL,
  stream VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  clicks BIGINT UNSIGNED NOT NULL,
  impressions BIGINT UNSIGNED NOT NULL,
  dead_letters BIGINT UNSIGNED NOT NULL,
  PRIMARY KEY (hour, stream)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

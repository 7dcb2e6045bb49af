-- Rows that the table of events refused, and why. Columns take more than those of events do, so that nothing
-- that was refused there is refused here. writer, seq and ordinal: the key that the row has when it is replayed.
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

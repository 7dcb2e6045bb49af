-- Into how many shards the data is divided: one row, which whoever comes first writes, and which never changes. What
-- was written before there were shards is one.
CREATE TABLE IF NOT EXISTS shards (
  id TINYINT UNSIGNED NOT NULL,
  shard_count SMALLINT UNSIGNED NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT IGNORE INTO shards (id, shard_count) SELECT 1, 1 FROM writers LIMIT 1;

-- A writer is of one shard. An hour's counts and sketch are kept for each shard apart, so that their flushes never wait
-- for each other's row: SUM(clicks), and the union of the sketches, are the hour's.
SET @writers_by_shard = (
  SELECT IF(COUNT(*) > 0, 'DO 0', 'ALTER TABLE writers ADD COLUMN shard SMALLINT UNSIGNED NOT NULL DEFAULT 0')
  FROM information_schema.COLUMNS
  WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'writers' AND COLUMN_NAME = 'shard');
PREPARE add_shard FROM @writers_by_shard;
EXECUTE add_shard;
DEALLOCATE PREPARE add_shard;

SET @hourly_by_shard = (
  SELECT IF(COUNT(*) > 0, 'DO 0', 'ALTER TABLE hourly
    ADD COLUMN shard SMALLINT UNSIGNED NOT NULL DEFAULT 0 AFTER stream,
    DROP PRIMARY KEY, ADD PRIMARY KEY (hour, stream, shard)')
  FROM information_schema.COLUMNS
  WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'hourly' AND COLUMN_NAME = 'shard');
PREPARE add_shard FROM @hourly_by_shard;
EXECUTE add_shard;
DEALLOCATE PREPARE add_shard;

SET @erased_by_shard = (
  SELECT IF(COUNT(*) > 0, 'DO 0', 'ALTER TABLE erased_events
    ADD COLUMN shard SMALLINT UNSIGNED NOT NULL DEFAULT 0 AFTER stream,
    DROP PRIMARY KEY, ADD PRIMARY KEY (hour, stream, shard)')
  FROM information_schema.COLUMNS
  WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'erased_events' AND COLUMN_NAME = 'shard');
PREPARE add_shard FROM @erased_by_shard;
EXECUTE add_shard;
DEALLOCATE PREPARE add_shard;

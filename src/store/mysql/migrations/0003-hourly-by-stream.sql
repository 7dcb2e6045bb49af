-- Series of one stream, or of a branch of streams: by the primary key every stream's hours would be read.
-- MySQL has no CREATE INDEX IF NOT EXISTS.
SET @hourly_by_stream = (
  SELECT IF(COUNT(*) > 0, 'DO 0', 'CREATE INDEX hourly_by_stream ON hourly (stream, hour)')
  FROM information_schema.STATISTICS
  WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'hourly' AND INDEX_NAME = 'hourly_by_stream');
PREPARE create_index FROM @hourly_by_stream;
EXECUTE create_index;
DEALLOCATE PREPARE create_index;

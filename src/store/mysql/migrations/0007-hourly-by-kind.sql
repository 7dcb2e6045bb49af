-- Users of an hour by kind, from here on: viewers_sketch has those with an impression, clickers_sketch those with a
-- click. Where that is NULL the hour was stored before: it is undivided, and the other sketch has all its users.
-- The column is renamed so that a build which does not know of kinds can't write to it. One statement: both or none.
SET @hourly_by_kind = (
  SELECT IF(COUNT(*) > 0, 'DO 0', 'ALTER TABLE hourly
    RENAME COLUMN users_sketch TO viewers_sketch, ADD COLUMN clickers_sketch BLOB NULL')
  FROM information_schema.COLUMNS
  WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'hourly' AND COLUMN_NAME = 'clickers_sketch');
PREPARE divide FROM @hourly_by_kind;
EXECUTE divide;
DEALLOCATE PREPARE divide;

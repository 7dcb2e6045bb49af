-- From which hour on rows, and aggregates, are kept: one row. It only ever moves on, and it does so before anything
-- is dropped, so that whoever misses rows can tell why.
CREATE TABLE retention (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  rows_from INTEGER NOT NULL,
  aggregates_from INTEGER NOT NULL
) STRICT;
INSERT INTO retention (id, rows_from, aggregates_from) VALUES (1, 0, 0);

-- How many events of an hour were erased, since their user was forgotten: rows + these = the aggregate. Moved in the
-- transaction that deletes the rows. Nothing here tells who it was.
CREATE TABLE erased_events (
  hour INTEGER NOT NULL,
  stream TEXT NOT NULL,
  clicks INTEGER NOT NULL,
  impressions INTEGER NOT NULL,
  dead_letters INTEGER NOT NULL,
  PRIMARY KEY (hour, stream)
) STRICT, WITHOUT ROWID;

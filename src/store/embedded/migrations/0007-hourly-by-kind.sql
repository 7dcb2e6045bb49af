-- Users of an hour by kind, from here on: viewers_sketch has those with an impression, clickers_sketch those with a
-- click. Where that is NULL the hour was stored before: it is undivided, and the other sketch has all its users.
ALTER TABLE hourly RENAME COLUMN users_sketch TO viewers_sketch;
ALTER TABLE hourly ADD COLUMN clickers_sketch BLOB;

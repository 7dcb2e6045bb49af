-- Stores an absent hour as the cold store has it.
-- KEYS: meta, hours, counts, viewers, clickers. ARGV: name in `hours`, hour, mark seen, clicks, impressions,
-- and the two sketches (empty if there are no users).
-- Returns 1 if the hour is held now, 0 if the mark has changed since (what was read may be stale),
-- -1 if the data set is not initialized.
if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
if redis.call('EXISTS', KEYS[3]) == 1 then return 1 end
if redis.call('HGET', KEYS[1], 'mark') ~= ARGV[3] then return 0 end
redis.call('HSET', KEYS[3], 'c', ARGV[4], 'i', ARGV[5])
if ARGV[6] ~= '' then redis.call('SET', KEYS[4], ARGV[6]) end
if ARGV[7] ~= '' then redis.call('SET', KEYS[5], ARGV[7]) end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
return 1

-- Gives a new writer an empty journal and a lease. KEYS: meta, writers, writer. ARGV: writer name, lease ms, the
-- expected number of shards, and epoch. Returns 0 if the data set is not initialized or has another epoch; if the
-- number of shards differs, that number, negated.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local shards = tonumber(redis.call('HGET', KEYS[1], 'shards') or 1)
if shards ~= tonumber(ARGV[3]) then return -shards end
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[4] then return 0 end
redis.call('HSET', KEYS[3], 'last', 0, 'flushed', 0, 'events', 0, 'lease', leaseUntil(ARGV[2]))
redis.call('SADD', KEYS[2], ARGV[1])
return 1

-- Makes a data set writable that was discarded. KEYS: meta, hours, writers, stored. ARGV: freshFrom, number of shards,
-- epoch, 1 if all ids are known, and the number of events in the cold store.
-- Returns 1 if it is initialized now, 0 if it has hours (discard it again), -1 if a journal is left.
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch and tonumber(epoch) >= tonumber(ARGV[3]) then return 1 end
redis.call('DEL', KEYS[1])
if redis.call('SCARD', KEYS[3]) > 0 then return -1 end
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
-- The mark starts above that of any earlier data set, so a hydration with an old mark is noticed.
local time = redis.call('TIME')
local mark = string.format('%.0f', time[1] * 1000000 + time[2])
local since = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', KEYS[1], 'freshFrom', ARGV[1], 'mark', mark, 'since', since, 'shards', ARGV[2],
  'epoch', ARGV[3], 'ids', ARGV[4], 'held', 0)
redis.call('SET', KEYS[4], ARGV[5])
return 1

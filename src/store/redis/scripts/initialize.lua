-- Makes a data set writable that is new or has lost batches, without any held hour.
-- KEYS: meta, hours, writers, an unused key. ARGV: key prefix, freshFrom, number of hours to drop per call, number of
-- shards, epoch, and 1 if all ids are known.
-- Returns 1 if it is initialized now, 0 if there are more hours to drop (call again), -1 if a journal is left.
-- It fails without the right to create sketches, because each commit would discard the data set again.
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch and tonumber(epoch) >= tonumber(ARGV[5]) then return 1 end
redis.call('PFADD', KEYS[4], '')
redis.call('DEL', KEYS[1], KEYS[4])
if redis.call('SCARD', KEYS[3]) > 0 then return -1 end
if not dropHours(KEYS[2], ARGV[1], ARGV[3]) then return 0 end
-- The mark starts above that of any earlier data set, so a hydration with an old mark is noticed.
local time = redis.call('TIME')
local mark = string.format('%.0f', time[1] * 1000000 + time[2])
local since = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', KEYS[1], 'freshFrom', ARGV[2], 'mark', mark, 'since', since, 'shards', ARGV[4],
  'epoch', ARGV[5], 'ids', ARGV[6])
return 1

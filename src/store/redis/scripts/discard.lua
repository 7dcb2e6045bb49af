-- Uninitializes a data set of this epoch or an earlier one, and drops its hours once no journal is left. KEYS: meta,
-- hours, writers. ARGV: epoch, key prefix, number of hours to drop per call.
-- Returns 0 if there are more hours to drop (call again).
-- The HDEL removes nothing: it makes a server that accepts no writes refuse, whatever it holds.
-- While the slot is moved, the script may end at any hour: the data set is not initialized then, and the next call
-- continues with that hour.
redis.call('HDEL', KEYS[1], '')
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch and tonumber(epoch) > tonumber(ARGV[1]) then return 1 end
redis.call('DEL', KEYS[1])
if redis.call('SCARD', KEYS[3]) > 0 then return 1 end
local limit = tonumber(ARGV[3])
local names = redis.call('ZRANGE', KEYS[2], 0, limit - 1)
dropHours(KEYS[2], ARGV[2], names)
return #names < limit and 1 or 0

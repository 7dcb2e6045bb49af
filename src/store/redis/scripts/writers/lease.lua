-- Prolongs (ARGV[1] ms from now) or gives up (0) a lease. KEYS: writer, meta. ARGV: ms, the last seq that this
-- store acknowledged to the writer, and the epoch in which it said that all ids are known (or empty). Answers 0 if the
-- writer must not go on.
-- A loss of batches, or of the writer itself, counts even if that is fenced: the hours lack them all the same. So does
-- one of ids that had been restored.
-- Both keys are named. While the slot is moved it may end after `meta` was dropped: that is all that it had to do then.
local state = redis.call('HMGET', KEYS[1], 'last', 'fenced')
if tonumber(state[1] or -1) < tonumber(ARGV[2]) then redis.call('DEL', KEYS[2]) end
local meta = redis.call('HMGET', KEYS[2], 'epoch', 'ids')
if meta[1] == ARGV[3] and meta[2] ~= '1' then redis.call('DEL', KEYS[2]) end
if not state[1] or state[2] or redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'lease', leaseUntil(ARGV[1]))
return 1

-- Renews a lease (ARGV[1] ms from now) or gives it up (0). KEYS: writer, meta. ARGV: ms, the last seq that was
-- acknowledged to the writer, and the epoch in which it learned that all ids are known (or empty). Returns 0 if the
-- writer must stop.
-- A loss of batches or of the writer counts even if the writer is fenced, since the hours lack those batches too. So
-- does a loss of restored ids.
-- Both keys are named. While the slot is moved, the script may end after it dropped `meta`, its only work in that case.
local state = redis.call('HMGET', KEYS[1], 'last', 'fenced')
if tonumber(state[1] or -1) < tonumber(ARGV[2]) then redis.call('DEL', KEYS[2]) end
local meta = redis.call('HMGET', KEYS[2], 'epoch', 'ids')
if meta[1] == ARGV[3] and meta[2] ~= '1' then redis.call('DEL', KEYS[2]) end
if not state[1] or state[2] or redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
redis.call('HSET', KEYS[1], 'lease', leaseUntil(ARGV[1]))
return 1

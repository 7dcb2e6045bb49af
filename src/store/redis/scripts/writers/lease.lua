-- Renews a lease (ARGV[1] ms from now) or gives it up (0). KEYS: writer, meta. ARGV: ms, the last seq that was
-- acknowledged to the writer, the epoch in which it learned that all ids are known (or empty), key prefix, and writer
-- name. Returns 0 if the writer must stop.
-- A loss of batches or of the writer counts even if the writer is fenced, since the hours lack those batches too. So
-- does a loss of restored ids.
-- Both keys are named. While the slot is moved, the script may end after it dropped `meta`, its only work in that case,
-- or at a computed key, before it has changed anything.
local state = redis.call('HMGET', KEYS[1], 'last', 'fenced', 'flushed')
if tonumber(state[1] or -1) < tonumber(ARGV[2]) then redis.call('DEL', KEYS[2]) end
local meta = redis.call('HMGET', KEYS[2], 'epoch', 'ids', 'held')
if meta[1] == ARGV[3] and meta[2] ~= '1' then redis.call('DEL', KEYS[2]) end
if not state[1] or state[2] or redis.call('EXISTS', KEYS[2]) == 0 then return 0 end

-- Has something else deleted the journal or an index? Only keys that must be there are looked for.
local journal, writers, hours = ARGV[4] .. 'j:' .. ARGV[5], ARGV[4] .. 'writers', ARGV[4] .. 'hours'
local following = state[3] + 1
local id = following .. '-0'
if following <= tonumber(state[1]) and #redis.call('XRANGE', journal, id, id) == 0 then
  -- The process commits again what it has in memory. The rest of the journal, flushed now, would look as if it had all.
  redis.call('DEL', KEYS[1], KEYS[2], journal)
  return 0
end
-- An index that lacks names is made a text: see mend.lua.
if redis.call('SADD', writers, ARGV[5]) == 1 then
  redis.call('DEL', KEYS[2])
  redis.call('SET', writers, '')
  return 0
end
if tonumber(meta[3]) > 0 and tonumber(meta[3]) ~= redis.call('ZCOUNT', hours, '-inf', '+inf') then
  redis.call('DEL', KEYS[2])
  redis.call('SET', hours, '')
  return 0
end
redis.call('HSET', KEYS[1], 'lease', leaseUntil(ARGV[1]))
return 1

-- Removes the flushed journal of a fenced writer. KEYS: writers, writer, journal, meta, stored.
-- ARGV: writer name, how long (ms) to remember the fence, in case the writer was only frozen and wakes,
-- and its watermark: if that is ahead, batches were lost here after they had been flushed.
local state = redis.call('HMGET', KEYS[2], 'last', 'fenced', 'events')
if state[1] and not state[2] then return 0 end
if tonumber(state[1] or 0) < tonumber(ARGV[3]) then redis.call('DEL', KEYS[4]) end
redis.call('DEL', KEYS[3])
local isFirst = redis.call('SREM', KEYS[1], ARGV[1]) == 1
if state[1] then
  -- The cold store has all of its events.
  if isFirst then
    redis.call('SET', KEYS[5], string.format('%.0f', (redis.call('GET', KEYS[5]) or 0) + state[3]))
  end
  redis.call('HSET', KEYS[2], 'flushed', state[1])
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
else
  redis.call('DEL', KEYS[2])
end
return 1

-- Ends a writer by its own will, so that its journal can be adopted at once. KEYS: writer.
-- Answers its last seq, or 0 if this store does not know it.
local last = redis.call('HGET', KEYS[1], 'last')
if not last then return 0 end
redis.call('HSET', KEYS[1], 'fenced', 1)
return tonumber(last)

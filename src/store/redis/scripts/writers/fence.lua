-- Fences a writer whose lease has expired, or any writer while the data set is not initialized. KEYS: writer, meta.
-- Returns 0 if the writer is alive.
local state = redis.call('HMGET', KEYS[1], 'lease', 'fenced')
local isInitialized = redis.call('EXISTS', KEYS[2]) == 1
if not isAdoptable(state[1], state[2], isInitialized, nowMs()) then return 0 end
-- A full server lets a script write only after a command that needs no memory: this one removes nothing. The removal of
-- the journal, which follows, frees memory.
redis.call('HDEL', KEYS[1], '')
redis.call('HSET', KEYS[1], 'fenced', 1)
return 1

-- Stops a writer whose lease has run out, or any while the data set is not initialized. KEYS: writer, meta.
-- Answers 0 if it is alive after all.
local state = redis.call('HMGET', KEYS[1], 'lease', 'fenced')
local isInitialized = redis.call('EXISTS', KEYS[2]) == 1
if not isAdoptable(state[1], state[2], isInitialized, nowMs()) then return 0 end
-- A server that is full lets a script write only after something that takes no room: this removes nothing. What
-- follows, the removal of the journal, makes room.
redis.call('HDEL', KEYS[1], '')
redis.call('HSET', KEYS[1], 'fenced', 1)
return 1

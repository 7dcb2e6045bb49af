-- Stops a writer whose lease has run out, or any while the data set is not initialized. KEYS: writer, meta.
-- Answers 0 if it is alive after all.
local state = redis.call('HMGET', KEYS[1], 'lease', 'fenced')
if state[2] then return 1 end
local time = redis.call('TIME')
local isLeased = tonumber(state[1] or 0) > time[1] * 1000 + math.floor(time[2] / 1000)
if isLeased and redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'fenced', 1)
return 1

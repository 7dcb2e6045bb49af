-- Fences a writer that gives itself up, so that its journal can be adopted at once. KEYS: writer.
-- Returns its last seq and its number of accepted events, or false if the writer is unknown here.
local state = redis.call('HMGET', KEYS[1], 'last', 'events')
if not state[1] then return false end
redis.call('HDEL', KEYS[1], '') -- As in fence.lua.
redis.call('HSET', KEYS[1], 'fenced', 1)
return {tonumber(state[1]), tonumber(state[2])}

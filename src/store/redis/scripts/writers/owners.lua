-- All journals, and whether each may be adopted. KEYS: writers, meta. ARGV: key prefix.
-- Answers a flat list: writer, 1 or 0, events accepted, …
-- It only reads: while the slot is moved, a writer that is not here any more ends it, and none is left out.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local isBorn = redis.call('EXISTS', KEYS[2]) == 1
local owners = {}
for _, writer in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local state = redis.call('HMGET', ARGV[1] .. 'w:' .. writer, 'lease', 'fenced', 'events')
  local isAdoptable = not isBorn or state[2] or tonumber(state[1] or 0) <= now
  owners[#owners + 1] = writer
  owners[#owners + 1] = isAdoptable and 1 or 0
  owners[#owners + 1] = tonumber(state[3] or 0)
end
return owners

-- Lists all journals, and whether each may be adopted. KEYS: writers, meta. ARGV: key prefix.
-- Returns a flat list: writer, 1 or 0, events accepted, …
-- A writer's key that something else has changed is dropped when its journal is adopted (fence.lua, mend.lua).
-- It only reads: while the slot is moved, a writer that has gone ends the script, and none is left out.
local now = nowMs()
local isInitialized = redis.call('EXISTS', KEYS[2]) == 1
local owners = {}
for _, writer in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local key = ARGV[1] .. 'w:' .. writer
  local state = redis.call('TYPE', key).ok == 'hash' and redis.call('HMGET', key, 'lease', 'fenced', 'events') or {}
  owners[#owners + 1] = writer
  owners[#owners + 1] = isAdoptable(state[1], state[2], isInitialized, now) and 1 or 0
  owners[#owners + 1] = tonumber(state[3] or 0)
end
return owners

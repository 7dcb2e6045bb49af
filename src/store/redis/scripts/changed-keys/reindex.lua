-- Rebuilds an index that something else has changed into another type, from all keys of this server, one slice per
-- call. KEYS: meta, writers, hours, and the replacements of these two. ARGV: key prefix, cursor (0 at first).
-- Returns the next cursor; 0 once this or another caller has finished.
-- The data set is not initialized meanwhile, so no writer and no hour is added.
local function isDamaged(key, kind)
  local found = redis.call('TYPE', key).ok
  return found ~= 'none' and found ~= kind
end

redis.call('DEL', KEYS[1])
local areWriters, areHours = isDamaged(KEYS[2], 'set'), isDamaged(KEYS[3], 'zset')
if not areWriters and not areHours then return '0' end
local cursor, keys = unpack(redis.call('SCAN', ARGV[2], 'MATCH', ARGV[1] .. '[cj]:*', 'COUNT', 1000))
for _, key in ipairs(keys) do
  local kind, name = string.match(string.sub(key, #ARGV[1] + 1), '^(.):(.+)$')
  if kind == 'j' then
    redis.call('SADD', KEYS[4], name)
  else
    local hour, stream = string.match(name, '^(%d+):(.+)$')
    if hour then redis.call('ZADD', KEYS[5], hour, hour .. ' ' .. stream) end
  end
end
if cursor ~= '0' then return cursor end

local function replace(index, made)
  redis.call('DEL', index)
  if redis.call('EXISTS', made) == 1 then redis.call('RENAME', made, index) end
end

if areWriters then replace(KEYS[2], KEYS[4]) end
if areHours then replace(KEYS[3], KEYS[5]) end
redis.call('DEL', KEYS[4], KEYS[5])
return '0'

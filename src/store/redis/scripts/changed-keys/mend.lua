-- Drops keys that something else has changed into another type: what they held is lost. KEYS: meta, then keys that a
-- script has used. ARGV: key prefix. Returns 1 if one of them is an index, which is left as it is.
-- The data set is no longer initialized; the next initialization drops its hours, damaged or not. With a journal its
-- writer is dropped too: that process finds its writer unknown, and commits again what it has in memory.
-- lease.lua makes a text of an index that lacks names, so that it is rebuilt like one that was changed.
local TYPES = {
  meta = 'hash', ['data-set'] = 'hash', ['ids-through'] = 'string', stored = 'string', trial = 'string',
  writers = 'set', hours = 'zset', w = 'hash', j = 'stream',
}
local isIndex = 0
redis.call('DEL', KEYS[1])
for n = 2, #KEYS do
  local name = string.sub(KEYS[n], #ARGV[1] + 1)
  local kind = string.match(name, '^[^:]+')
  local found = redis.call('TYPE', KEYS[n]).ok
  if TYPES[kind] and found ~= 'none' and found ~= TYPES[kind] then
    if kind == 'writers' or kind == 'hours' then
      isIndex = 1
    else
      redis.call('DEL', KEYS[n])
      if kind == 'j' then redis.call('DEL', ARGV[1] .. 'w' .. string.sub(name, 2)) end
    end
  end
end
return isIndex

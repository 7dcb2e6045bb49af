-- Drops keys that something else has changed into another type: what they held is lost. KEYS: meta, then keys that a
-- script had to do with. ARGV: key prefix. Answers 1 if one of them is an index, which is left as it is.
-- The data set is no longer initialized: its hours are dropped, damaged or not, when it is again. With its journal a
-- writer goes, too, which finds itself unknown, and what it has in memory is committed again.
local TYPES = {
  meta = 'hash', ['data-set'] = 'hash', ['ids-through'] = 'string', trial = 'string', writers = 'set', hours = 'zset',
  w = 'hash', j = 'stream',
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

-- Settles a batch whose outcome its writer does not know and whose events it has refused.
-- KEYS: writer, journal, meta, then counts and ids of the batch. ARGV: seq, key prefix.
-- The latter are found in the journal, and named for another reason: while the slot is moved it begins only where all
-- of them are, and so never takes back a half.
-- Not applied yet: the seq is burned, so that a copy still on its way is ignored. Applied: counts, ids and
-- journal entry are taken back, but for events whose id came again since then: whoever sent it has been
-- told that it counts. Sketches cannot forget: they may keep users of the batch, each in that of its kind.
local state = redis.call('HMGET', KEYS[1], 'last', 'fenced')
local last, seq, prefix = tonumber(state[1] or -1), tonumber(ARGV[1]), ARGV[2]
if last < seq - 1 then redis.call('DEL', KEYS[3]) end
if state[1] and state[2] then return {'fenced', last} end
if last < seq - 1 then return {'unknown'} end
if last < seq then
  redis.call('HSET', KEYS[1], 'last', seq)
  return {'voided'}
end
local entry = redis.call('XRANGE', KEYS[2], seq .. '-0', seq .. '-1')[1]
if not entry then return {'voided'} end
-- Asked again, since the answer was lost: what was kept then is still kept.
if entry[1] == seq .. '-1' then return {'reverted', entry[2][4]} end

local body, isDuplicate = entry[2][2], {}
for ordinal in string.gmatch(entry[2][4], '%d+') do isDuplicate[tonumber(ordinal)] = true end
local notCounted, ordinal, kept, taken = {}, 0, 0, 0
for _, group in ipairs(cjson.decode(body).g) do
  local stream, kinds, ids = group[1], group[3], group[6]
  local back = { c = 0, i = 0 }
  for n = 1, #kinds do
    local id = ids ~= cjson.null and ids[n] ~= cjson.null and ids[n]
    local idKey = id and prefix .. 'id:' .. stream .. ':' .. id
    if isDuplicate[ordinal] then
      notCounted[#notCounted + 1] = ordinal
    elseif idKey and redis.call('GET', idKey) == '2' then
      kept = kept + 1
    else
      local field = string.sub(kinds, n, n)
      back[field] = back[field] + 1
      notCounted[#notCounted + 1] = ordinal
      if idKey then redis.call('DEL', idKey) end
    end
    ordinal = ordinal + 1
  end
  local countsKey = prefix .. 'c:' .. string.format('%.0f', group[2]) .. ':' .. stream
  if back.c > 0 then redis.call('HINCRBY', countsKey, 'c', -back.c) end
  if back.i > 0 then redis.call('HINCRBY', countsKey, 'i', -back.i) end
  taken = taken + back.c + back.i
end
local list = table.concat(notCounted, ',')
redis.call('HINCRBY', KEYS[1], 'events', 0 - taken)
redis.call('XDEL', KEYS[2], seq .. '-0')
-- A stream takes no entry below its last one: hence the second id that a seq has.
if kept > 0 then redis.call('XADD', KEYS[2], seq .. '-1', 'b', body, 'd', list) end
return {'reverted', list}

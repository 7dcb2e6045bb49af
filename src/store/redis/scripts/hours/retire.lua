-- Drops hours whose batches are all flushed: old ones, or the one that is named. KEYS: meta, hours.
-- ARGV: key prefix, before hour, limit, name in `hours` (or nothing). Returns how many were dropped. An error if
-- something else has deleted the counts of one.
-- Each hour has, per writer, the last batch that touched it (w:<writer>); each writer has its last flushed batch.
-- A missing writer has flushed everything, because its journal is removed only then.
-- While the slot is moved, the script may end at any key of an hour. If it ends while it checks, nothing has changed.
-- If it ends while it drops, `mark` and `freshFrom` have already risen: a dropped hour is absent, never empty, and any
-- other hour is as complete as before.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local prefix = ARGV[1]
local flushedNames, latest = {}, 0
local names = {ARGV[4]}
if not ARGV[4] then names = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. ARGV[2], 'LIMIT', 0, ARGV[3]) end
for _, name in ipairs(names) do
  local hour, stream = string.match(name, '^(%d+) (.+)$')
  local suffix = hour .. ':' .. stream
  local fields = redis.call('HGETALL', prefix .. 'c:' .. suffix)
  if #fields == 0 and not ARGV[4] then return redis.error_reply('MISSINGKEY of the hour ' .. name) end
  local flushed = true
  for n = 1, #fields, 2 do
    local writer = string.match(fields[n], '^w:(.+)$')
    if writer then
      local through = redis.call('HGET', prefix .. 'w:' .. writer, 'flushed')
      if through and tonumber(through) < tonumber(fields[n + 1]) then flushed = false end
    end
  end
  if flushed then
    flushedNames[#flushedNames + 1] = name
    latest = math.max(latest, tonumber(hour))
  end
end
if #flushedNames == 0 then return 0 end

-- A full server lets a script write only after a command that needs no memory: this one removes nothing.
redis.call('HDEL', KEYS[1], '')
redis.call('HINCRBY', KEYS[1], 'mark', 1)
local freshFrom = tonumber(redis.call('HGET', KEYS[1], 'freshFrom'))
if latest + 3600000 > freshFrom then
  redis.call('HSET', KEYS[1], 'freshFrom', string.format('%.0f', latest + 3600000))
end
dropHours(KEYS[2], prefix, flushedNames, KEYS[1])
return #flushedNames

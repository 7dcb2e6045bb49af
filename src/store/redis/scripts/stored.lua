-- How many events the cold store has had, at least. KEYS: stored, writers. ARGV: key prefix.
-- It only reads: while the slot is moved, a writer that has gone ends the script, and none is left out.
local sum = tonumber(redis.call('GET', KEYS[1]) or 0)
for _, writer in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  local key = ARGV[1] .. 'w:' .. writer
  if redis.call('TYPE', key).ok == 'hash' then sum = sum + (redis.call('HGET', key, 'stored') or 0) end
end
return string.format('%.0f', sum)

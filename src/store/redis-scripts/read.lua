-- One consistent picture of several hours. KEYS: meta, then (counts, users) per hour. ARGV: the hours.
-- Answers false for a data set that is not born; else per hour {clicks, impressions, unique users},
-- 0 for an hour that is known to be empty, -1 for one that only the cold store knows.
local freshFrom = tonumber(redis.call('HGET', KEYS[1], 'freshFrom') or nil)
if not freshFrom then return false end
local hours = {}
for n = 1, #ARGV do
  local counts = redis.call('HMGET', KEYS[2 * n], 'c', 'i')
  if counts[1] or counts[2] then
    hours[n] = {tonumber(counts[1] or 0), tonumber(counts[2] or 0), redis.call('PFCOUNT', KEYS[2 * n + 1])}
  elseif tonumber(ARGV[n]) >= freshFrom then
    hours[n] = 0
  else
    hours[n] = -1
  end
end
return hours

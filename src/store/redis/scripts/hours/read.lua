-- One consistent picture of several hours. KEYS: meta, then (counts, viewers, clickers) per hour. ARGV: of how
-- many shards it takes this for one, then the hours.
-- Answers false for a data set that is not initialized, or one of another number; else per hour
-- {clicks, impressions, unique users},
-- 0 for an hour that is known to be empty, -1 for one that only the cold store knows.
local meta = redis.call('HMGET', KEYS[1], 'freshFrom', 'shards')
local freshFrom = tonumber(meta[1] or nil)
if not freshFrom or tonumber(meta[2] or 1) ~= tonumber(ARGV[1]) then return false end

-- The count of one sketch is kept with it, that of a union is not: so only where there are two.
local function countUsers(viewers, clickers)
  if redis.call('EXISTS', clickers) == 0 then return redis.call('PFCOUNT', viewers) end
  if redis.call('EXISTS', viewers) == 0 then return redis.call('PFCOUNT', clickers) end
  return redis.call('PFCOUNT', viewers, clickers)
end

local hours = {}
for n = 1, #ARGV - 1 do
  local counts = redis.call('HMGET', KEYS[3 * n - 1], 'c', 'i')
  if counts[1] or counts[2] then
    local users = countUsers(KEYS[3 * n], KEYS[3 * n + 1])
    hours[n] = {tonumber(counts[1] or 0), tonumber(counts[2] or 0), users}
  elseif tonumber(ARGV[n + 1]) >= freshFrom then
    hours[n] = 0
  else
    hours[n] = -1
  end
end
return hours

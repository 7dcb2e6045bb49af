-- Reads several hours at one instant. KEYS: meta, then (counts, viewers, clickers) per hour. ARGV: the expected number
-- of shards, then the hours.
-- Returns false if the data set is not initialized or has another number of shards; else per hour
-- {clicks, impressions, unique users}, 0 if it is known to be empty, -1 if only the cold store knows it.
local meta = redis.call('HMGET', KEYS[1], 'freshFrom', 'shards')
local freshFrom = tonumber(meta[1] or nil)
if not freshFrom or tonumber(meta[2] or 1) ~= tonumber(ARGV[1]) then return false end

-- Redis caches the count of one sketch but not of a union, so unite only where there are two.
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

-- Reads several hours at one instant. KEYS: meta, hours, then (counts, viewers, clickers) per hour. ARGV: the expected
-- number of shards, then the names in `hours`.
-- Returns false if the data set is not initialized or has another number of shards; else per hour
-- {clicks, impressions, unique users}, 0 if it is known to be empty, -1 if only the cold store knows it. An error if
-- something else has deleted keys of one.
local meta = redis.call('HMGET', KEYS[1], 'freshFrom', 'shards')
local freshFrom = tonumber(meta[1] or nil)
if not freshFrom or tonumber(meta[2] or 1) ~= tonumber(ARGV[1]) then return false end

local function isOne(condition) return condition and 1 or 0 end

local hours = {}
for n = 1, #ARGV - 1 do
  local name, viewers, clickers = ARGV[n + 1], KEYS[3 * n + 1], KEYS[3 * n + 2]
  local counts = redis.call('HMGET', KEYS[3 * n], 'c', 'i')
  local clicks, impressions = tonumber(counts[1] or 0), tonumber(counts[2] or 0)
  local sketches, isWhole = redis.call('EXISTS', viewers, clickers)
  if counts[1] or counts[2] then
    isWhole = sketches >= isOne(clicks > 0) + isOne(impressions > 0)
    -- Redis caches the count of one sketch but not of a union, so unite only where there are two.
    local users = sketches == 2 and {viewers, clickers} or {clicks > 0 and clickers or viewers}
    hours[n] = {clicks, impressions, redis.call('PFCOUNT', unpack(users))}
  else
    isWhole = sketches == 0 and not redis.call('ZSCORE', KEYS[2], name)
    hours[n] = tonumber(string.match(name, '^%d+')) >= freshFrom and 0 or -1
  end
  if not isWhole then return redis.error_reply('MISSINGKEY of the hour ' .. name) end
end
return hours

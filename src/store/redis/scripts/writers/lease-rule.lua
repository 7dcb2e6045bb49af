-- The rule for leases, put before the scripts that need it. Times are of this store's clock, in ms.

local function nowMs()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function leaseUntil(ms)
  return string.format('%.0f', nowMs() + ms)
end

-- lease, fenced: of the writer whose journal it is. now: as nowMs() has it.
local function isAdoptable(lease, fenced, isInitialized, now)
  return not isInitialized or fenced or tonumber(lease or 0) <= now
end


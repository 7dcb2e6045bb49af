-- The rules for leases, prepended to the scripts that need them. Times are in ms, by this server's clock. A lease lasts
-- as long as the setting LEASE_MS says.

local function nowMs()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function leaseUntil(ms)
  return string.format('%.0f', nowMs() + ms)
end

-- lease and fenced belong to the writer of the journal. now comes from nowMs().
local function isAdoptable(lease, fenced, isInitialized, now)
  return not isInitialized or fenced or tonumber(lease or 0) <= now
end


-- Prepended to the scripts that need it. Drops up to `limit` hours. Returns true if none is left.
-- While the slot is moved, the script may end at any hour: the data set is not initialized then, and the next call
-- continues with that hour.

local function dropHours(hoursKey, prefix, limit)
  local names = redis.call('ZRANGE', hoursKey, 0, limit - 1)
  for _, name in ipairs(names) do
    local hour, stream = string.match(name, '^(%d+) (.+)$')
    local suffix = hour .. ':' .. stream
    redis.call('UNLINK', prefix .. 'c:' .. suffix, prefix .. 'u:' .. suffix, prefix .. 'k:' .. suffix)
    redis.call('ZREM', hoursKey, name)
  end
  return #names < tonumber(limit)
end


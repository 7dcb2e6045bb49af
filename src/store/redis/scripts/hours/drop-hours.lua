-- Put before the scripts that need it. Drops this many hours. Answers whether none is left.
-- While the slot is moved it may end at any of them: the data set is not initialized then, and the next call goes on
-- with that hour.

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


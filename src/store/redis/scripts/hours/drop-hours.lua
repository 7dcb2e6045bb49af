-- Prepended to the scripts that drop hours. `names` are members of the sorted set `hours`.
local function dropHours(hours, prefix, names)
  for _, name in ipairs(names) do
    local place = string.gsub(name, ' ', ':', 1)
    redis.call('UNLINK', prefix .. 'c:' .. place, prefix .. 'u:' .. place, prefix .. 'k:' .. place)
    redis.call('ZREM', hours, name)
  end
end


-- Prepended to the scripts that drop hours. `names` are members of the sorted set `hours`. `meta` is undefined if it
-- does not exist.
local function dropHours(hours, prefix, names, meta)
  for _, name in ipairs(names) do
    local place = string.gsub(name, ' ', ':', 1)
    redis.call('UNLINK', prefix .. 'c:' .. place, prefix .. 'u:' .. place, prefix .. 'k:' .. place)
    if redis.call('ZREM', hours, name) == 1 and meta then redis.call('HINCRBY', meta, 'held', -1) end
  end
end


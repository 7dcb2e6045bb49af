-- Records that all ids are known which the cold store had before a time. KEYS: meta, time. ARGV: epoch, time (ms, by
-- the cold store's clock), and the name of a restorer that has finished (or empty).
-- Returns 0 if this is another epoch, or if ids are not known and another restorer has taken over.
-- Both keys are named.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'ids', 'restorer')
if meta[1] ~= ARGV[1] then return 0 end
if meta[2] ~= '1' then
  if meta[3] ~= ARGV[3] then return 0 end
  redis.call('HSET', KEYS[1], 'ids', 1)
  redis.call('HDEL', KEYS[1], 'restorer', 'until')
end
if tonumber(redis.call('GET', KEYS[2]) or 0) < tonumber(ARGV[2]) then redis.call('SET', KEYS[2], ARGV[2]) end
return 1

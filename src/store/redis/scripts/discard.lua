-- A data set of this epoch is no longer initialized. KEYS: meta. ARGV: epoch.
-- The HDEL removes nothing: it makes a server that accepts no writes refuse, whatever it holds.
redis.call('HDEL', KEYS[1], '')
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])

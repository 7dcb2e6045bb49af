-- KEYS: data set. ARGV: identity and user key to record if there are none, or nothing. Returns the recorded ones, or
-- twice false.
if ARGV[1] and redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'identity', ARGV[1], 'user-key', ARGV[2])
end
return redis.call('HMGET', KEYS[1], 'identity', 'user-key')

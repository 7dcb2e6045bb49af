-- KEYS: data set. ARGV: identity and key of users that are offered, or nothing. Answers those that are recorded, two
-- times false if there are none.
if ARGV[1] and redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'identity', ARGV[1], 'user-key', ARGV[2])
end
return redis.call('HMGET', KEYS[1], 'identity', 'user-key')

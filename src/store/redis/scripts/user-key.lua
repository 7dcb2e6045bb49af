-- KEYS: key of users. ARGV: one that is offered, or nothing. Answers the one that holds, or false if there is none.
if ARGV[1] then redis.call('SET', KEYS[1], ARGV[1], 'NX') end
return redis.call('GET', KEYS[1])

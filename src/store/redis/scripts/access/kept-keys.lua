-- KEYS[1] = the copy of the API keys.
return redis.call('GET', KEYS[1])

-- KEYS[1] = the copy of the API keys, ARGV[1] = its new content.
redis.call('SET', KEYS[1], ARGV[1])
return 1

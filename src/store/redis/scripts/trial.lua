-- Fails on a server that is full, or gives no right to make sketches. KEYS: one that nothing else uses.
redis.call('PFADD', KEYS[1], '')
return redis.call('DEL', KEYS[1])

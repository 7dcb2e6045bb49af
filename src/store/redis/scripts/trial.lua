-- Fails if the server is full or denies the right to create sketches. KEYS: an unused key.
redis.call('PFADD', KEYS[1], '')
return redis.call('DEL', KEYS[1])

-- KEYS: meta, time of ids. Returns false if the data set is not initialized; else the mark that changes with every
-- retirement, the ms since the data set was initialized, its epoch, 1 if it knows all ids, and through which time it is
-- certain to have known them.
local meta = redis.call('HMGET', KEYS[1], 'mark', 'since', 'epoch', 'ids')
if not meta[1] then return false end
local time = redis.call('TIME')
local msAgo = time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(meta[2])
return {meta[1], msAgo, meta[3], meta[4] == '1' and 1 or 0, redis.call('GET', KEYS[2]) or '0'}

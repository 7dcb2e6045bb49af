-- Forgets ids, a slice of all keys of this server per call, unless the data set is initialized. KEYS: meta, time of
-- ids. ARGV: key prefix, cursor (0 at first). Returns the next cursor; 0 at the end.
-- While the slot is moved, the script may end at any id: then the caller begins anew.
if redis.call('EXISTS', KEYS[1]) == 1 then return '0' end
redis.call('DEL', KEYS[2])
local cursor, ids = unpack(redis.call('SCAN', ARGV[2], 'MATCH', ARGV[1] .. 'id:*', 'COUNT', 1000))
for _, id in ipairs(ids) do redis.call('UNLINK', id) end
return cursor

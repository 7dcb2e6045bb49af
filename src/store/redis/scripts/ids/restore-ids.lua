-- Adds ids that the cold store has, unless they are known here. KEYS: meta, then the ids. ARGV: epoch, name of the
-- restorer, for how long (ms) it excludes others, then the lifetime (ms) of each id.
-- Returns 0 if another is restoring them, -1 if this is another epoch or all ids are known.
-- Every key is named. It only adds ids, so it may be run again wherever it ended.
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'ids', 'restorer', 'until')
if meta[1] ~= ARGV[1] or meta[2] == '1' then return -1 end
if meta[3] ~= ARGV[2] and tonumber(meta[4] or 0) > nowMs() then return 0 end
redis.call('HSET', KEYS[1], 'restorer', ARGV[2], 'until', leaseUntil(ARGV[3]))
for n = 2, #KEYS do redis.call('SET', KEYS[n], '1', 'NX', 'PX', ARGV[n + 2]) end
return 1

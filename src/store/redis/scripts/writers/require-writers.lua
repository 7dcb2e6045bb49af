-- Uninitializes a data set of this epoch if it does not know one of these writers, or not all of its batches, and so
-- has lost data. KEYS: meta, then a key for each writer. ARGV: epoch, then a seq for each.
-- Returns 0 in that case.
-- Every key is named.
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 1 end
for n = 2, #KEYS do
  if tonumber(redis.call('HGET', KEYS[n], 'last') or -1) < tonumber(ARGV[n]) then
    redis.call('DEL', KEYS[1])
    return 0
  end
end
return 1

-- A data set of this epoch that does not know one of these writers, or not all of its batches, has lost what they
-- brought, and is no longer initialized. KEYS: meta, then a key for each writer. ARGV: epoch, then a seq for each.
-- Answers 0 if that is so.
-- Every key is named.
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then return 1 end
for n = 2, #KEYS do
  if tonumber(redis.call('HGET', KEYS[n], 'last') or -1) < tonumber(ARGV[n]) then
    redis.call('DEL', KEYS[1])
    return 0
  end
end
return 1

-- Stores an absent hour as the cold store has it.
-- KEYS: meta, hours, counts, viewers, clickers. ARGV: name in `hours`, hour, mark seen, clicks, impressions,
-- and the two sketches (empty if there are no users).
-- Returns 1 if the hour is held now, 0 if the mark has changed since (what was read may be stale),
-- -1 if the data set is not initialized, or is so no longer: something else has deleted keys of the hour.
-- A sketch is there if its count is not 0, even if it is empty (the rows of its users were erased).
if redis.call('EXISTS', KEYS[1]) == 0 then return -1 end
if redis.call('EXISTS', KEYS[3]) == 1 then return 1 end
if redis.call('HGET', KEYS[1], 'mark') ~= ARGV[3] then return 0 end
if redis.call('EXISTS', KEYS[4], KEYS[5]) > 0 or redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1]) == 0 then
  redis.call('DEL', KEYS[1])
  return -1
end
redis.call('HINCRBY', KEYS[1], 'held', 1)
redis.call('HSET', KEYS[3], 'c', ARGV[4], 'i', ARGV[5])

local function keepSketch(key, sketch, count)
  if sketch ~= '' then redis.call('SET', key, sketch) elseif count ~= '0' then redis.call('PFADD', key) end
end

keepSketch(KEYS[4], ARGV[6], ARGV[5])
keepSketch(KEYS[5], ARGV[7], ARGV[4])
return 1

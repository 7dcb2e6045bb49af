-- Drops a journal through a seq that the cold store has. KEYS: writer, journal. ARGV: seq, and how many of
-- the writer's events the cold store has, as far as known.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('XTRIM', KEYS[2], 'MINID', '=', string.format('%.0f', ARGV[1] + 1) .. '-0')
if tonumber(redis.call('HGET', KEYS[1], 'flushed')) < tonumber(ARGV[1]) then
  redis.call('HSET', KEYS[1], 'flushed', ARGV[1])
end
if tonumber(redis.call('HGET', KEYS[1], 'stored') or 0) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'stored', ARGV[2])
end
return 1

-- Drops a journal through a seq that the cold store has. KEYS: writer, journal. ARGV: seq.
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('XTRIM', KEYS[2], 'MINID', '=', string.format('%.0f', ARGV[1] + 1) .. '-0')
if tonumber(redis.call('HGET', KEYS[1], 'flushed')) < tonumber(ARGV[1]) then
  redis.call('HSET', KEYS[1], 'flushed', ARGV[1])
end
return 1

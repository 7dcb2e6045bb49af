-- A slice of a journal. KEYS: journal. ARGV: first seq, number of entries. Answers {seq, body, duplicates}, …
local slice = {}
for n, entry in ipairs(redis.call('XRANGE', KEYS[1], ARGV[1] .. '-0', '+', 'COUNT', ARGV[2])) do
  slice[n] = {string.match(entry[1], '^%d+'), entry[2][2], entry[2][4]}
end
return slice

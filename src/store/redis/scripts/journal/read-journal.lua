-- A slice of a journal. KEYS: journal. ARGV: first seq, most entries, how many events are enough.
-- Returns {seq, body, duplicates}, …
-- Large batches have some 100 KB each, so few are read before it is known whether they are enough.
local PIECE = 5
local from, most, wanted = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local slice = {}
repeat
  local entries = redis.call('XRANGE', KEYS[1], from .. '-0', '+', 'COUNT', PIECE)
  for _, entry in ipairs(entries) do
    local seq, body, duplicates = string.match(entry[1], '^%d+'), entry[2][2], entry[2][4]
    slice[#slice + 1] = {seq, body, duplicates}
    wanted = wanted - (string.match(body, '^{"v":1,"n":(%d+),') or 0)
    from = seq + 1
    if wanted <= 0 then return slice end
  end
until #entries < PIECE or #slice >= most
return slice

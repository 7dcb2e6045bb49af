-- The held hours of a range, each with its sketches: a slice of bounded work, consistent in itself.
-- KEYS: meta, hours. ARGV: key prefix, first hour, end, stream or prefix of streams, 1 if it is a prefix,
-- the stream at which the first hour resumes, the limits of this slice (units of work, bytes of sketches),
-- and the expected number of shards.
-- Returns false if the data set is not initialized, has another number of shards or lacks names of hours; else
-- freshFrom, the hour and stream to resume at (empty if this was all), then per hour: hour, stream, clicks, impressions
-- (empty if both are missing), the sketches of viewers and of clickers (empty if there are none).
-- It only reads. While the slot is moved, an hour that has gone ends the script; none is taken for empty.
local meta = redis.call('HMGET', KEYS[1], 'freshFrom', 'shards', 'held')
local freshFrom = meta[1]
if not freshFrom or tonumber(meta[2] or 1) ~= tonumber(ARGV[9]) then return false end
if tonumber(meta[3]) ~= redis.call('ZCOUNT', KEYS[2], '-inf', '+inf') then return false end
local hoursKey, prefix, stream, isPrefix = KEYS[2], ARGV[1], ARGV[4], ARGV[5] == '1'
local work, bytes = tonumber(ARGV[7]), tonumber(ARGV[8])
local answer = {freshFrom, '', ''}

local function show(hour, name)
  local suffix = hour .. ':' .. name
  local counts = redis.call('HMGET', prefix .. 'c:' .. suffix, 'c', 'i')
  local isCounted = counts[1] or counts[2]
  if not isCounted and not redis.call('ZSCORE', hoursKey, hour .. ' ' .. name) then return end
  local none = isCounted and '0' or ''
  local viewers = redis.call('GET', prefix .. 'u:' .. suffix) or ''
  local clickers = redis.call('GET', prefix .. 'k:' .. suffix) or ''
  local parts = {hour, name, counts[1] or none, counts[2] or none, viewers, clickers}
  for _, part in ipairs(parts) do answer[#answer + 1] = part end
  bytes = bytes - #viewers - #clickers
end

-- Compares bytes: '<' would use the server's locale.
local function isBefore(a, b)
  for n = 1, math.min(#a, #b) do
    local x, y = string.byte(a, n), string.byte(b, n)
    if x ~= y then return x < y end
  end
  return #a < #b
end

-- The rank of this hour's first name that is not before `text`: the names of an hour are in order.
local function seek(hour, text)
  local low = redis.call('ZCOUNT', hoursKey, '-inf', '(' .. hour)
  local high = low + redis.call('ZCOUNT', hoursKey, hour, hour)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local name = redis.call('ZRANGE', hoursKey, middle, middle)[1]
    if isBefore(name, text) then low = middle + 1 else high = middle end
  end
  return low
end

local function resumeAt(hour, name)
  answer[2], answer[3] = hour, name
  return answer
end

-- Returns the name to resume at, or nil after all of the hour's streams with this prefix.
local function showAll(hour, from)
  local start = hour .. ' ' .. stream
  local rank = seek(hour, hour .. ' ' .. from)
  work = work - 10
  while true do
    local names = redis.call('ZRANGE', hoursKey, rank, rank + 49)
    for _, name in ipairs(names) do
      if string.sub(name, 1, #start) ~= start then return nil end
      if work <= 0 or bytes <= 0 then return string.sub(name, #hour + 2) end
      work = work - 1
      show(hour, string.sub(name, #hour + 2))
    end
    if #names < 50 then return nil end
    rank = rank + 50
  end
end

local bound = ARGV[2]
while true do
  local name = redis.call('ZRANGEBYSCORE', hoursKey, bound, '(' .. ARGV[3], 'LIMIT', 0, 1)[1]
  if not name then return answer end
  local hour = string.match(name, '^%d+')
  local isResumed = hour == ARGV[2] and ARGV[6] ~= ''
  if work <= 0 or bytes <= 0 then return resumeAt(hour, '') end
  if isPrefix then
    local nextName = showAll(hour, isResumed and ARGV[6] or stream)
    if nextName then return resumeAt(hour, nextName) end
  else
    work = work - 1
    show(hour, stream)
  end
  bound = '(' .. hour
end

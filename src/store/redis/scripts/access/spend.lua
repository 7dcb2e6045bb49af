-- What was spent of some limits: KEYS[1] = the salt. ARGV: what the names of limits begin with here, a salt for
-- the case that there is none, its life in ms; then for each limit its name and how long what was spent is paid
-- for, in µs. Answers for each limit how long it is paid for now, in µs from this instant.
--
-- A name may hold an address, and this server writes all that it knows to a disk: so names are hashed, with a salt
-- that is forgotten after its life.
--
-- All limits are read before one is written: while the slot is moved, one that is not here any more ends it, and
-- nothing is spent.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
-- What something else has put there is no salt.
local salt = redis.call('TYPE', KEYS[1]).ok == 'string' and redis.call('GET', KEYS[1])
if not salt then
  salt = ARGV[2]
  redis.call('SET', KEYS[1], salt, 'PX', ARGV[3])
end
local answers, paid = {}, {}
for at = 4, #ARGV, 2 do
  local key = ARGV[1] .. redis.sha1hex(salt .. ARGV[at])
  local before = paid[key] or tonumber(redis.call('GET', key) or now)
  paid[key] = math.max(before, now) + tonumber(ARGV[at + 1])
  answers[#answers + 1] = paid[key] - now
end
for key, untilUs in pairs(paid) do
  redis.call('SET', key, string.format('%.0f', untilUs), 'PX', math.max(1, math.ceil((untilUs - now) / 1000)))
end
return answers

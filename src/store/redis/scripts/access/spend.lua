-- Records spending from some limits. KEYS[1] = the salt. ARGV: prefix of the limits' keys, a salt to use if there is
-- none, its lifetime in ms; then for each limit its name and the time that pays for the spending, in µs. Returns for
-- each limit how long from now it is paid for, in µs.
--
-- A name may contain an address, and this server writes everything to disk. So names are hashed, with a salt that is
-- forgotten after its lifetime.
--
-- All limits are read before any is written: while the slot is moved, a limit that has gone ends the script, and
-- nothing is spent.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
-- A salt key that something else has changed is ignored.
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

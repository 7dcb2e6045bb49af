-- What was spent of some limits: KEYS[1] = the salt. ARGV: what the names of limits begin with here, a salt for
-- the case that there is none, its life in ms; then for each limit its name and how long what was spent is paid
-- for, in µs. Answers for each limit how long it is paid for now, in µs from this instant.
--
-- A name may hold an address, and this server writes all that it knows to a disk: so names are hashed, with a salt
-- that is forgotten after its life.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local salt = redis.call('GET', KEYS[1])
if not salt then
  salt = ARGV[2]
  redis.call('SET', KEYS[1], salt, 'PX', ARGV[3])
end
local answers = {}
for at = 4, #ARGV, 2 do
  local key = ARGV[1] .. redis.sha1hex(salt .. ARGV[at])
  local paid = math.max(tonumber(redis.call('GET', key) or now), now) + tonumber(ARGV[at + 1])
  redis.call('SET', key, string.format('%.0f', paid), 'PX', math.max(1, math.ceil((paid - now) / 1000)))
  answers[#answers + 1] = paid - now
end
return answers

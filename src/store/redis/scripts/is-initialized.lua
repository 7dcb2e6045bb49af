-- KEYS: meta. Answers false for a data set that is not initialized, else the mark that changes with every retirement,
-- and how many ms ago the data set was initialized.
local meta = redis.call('HMGET', KEYS[1], 'mark', 'since')
if not meta[1] then return false end
local time = redis.call('TIME')
return {meta[1], time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(meta[2])}

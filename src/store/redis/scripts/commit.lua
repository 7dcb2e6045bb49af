-- Applies one batch: counts, sketches, event ids and the journal entry, all or nothing.
-- KEYS: writer, journal, meta, hours, then (counts, viewers, clickers) per group, then one key per event id.
-- ARGV: writer name, seq, journal entry, id lifetime ms, number of groups, then per group:
--   name in `hours`, hour, clicks, impressions (both of events without id), n viewers, those, n clickers, those,
--   n events with id, and per such event: field in counts ('c' or 'i'), user, ordinal in the batch.
-- A user is an element for PFADD that raises the user's register (8 bytes in hex), or empty if the sketch is known to
-- hold that. Groups differ in stream or hour.
-- Nothing is written before every refusal has been ruled out, since a script cannot roll back.
-- Every key is named: while the slot is moved it begins only where all of them are (or else not at all), and no key
-- that is there then can go before its end, but for `meta`, which it drops itself and then looks for no more than once
-- (and an id whose 24 hours end in the microseconds between that look and its start).
local writerKey, journalKey, metaKey, hoursKey = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local seq, groupCount = tonumber(ARGV[2]), tonumber(ARGV[5])

local state = redis.call('HMGET', writerKey, 'last', 'fenced', 'events')
local last = tonumber(state[1] or -1)
-- Acknowledged batches, or the writer itself, are gone: what is held here is no longer complete.
if seq > last + 1 then redis.call('DEL', metaKey) end
if not state[1] then return {'unknown'} end
if state[2] then return {'fenced'} end
if seq <= last then
  local entry = redis.call('XRANGE', journalKey, seq .. '-0', seq .. '-0')[1]
  return {'committed', entry and entry[2][4] or ''}
end
local freshFrom = tonumber(redis.call('HGET', metaKey, 'freshFrom') or nil)
if not freshFrom then return {'uninitialized'} end

-- First pass: which hours are not here, and may not be assumed to be empty?
local held, absent, at = {}, {}, 6
for g = 1, groupCount do
  local counts = redis.call('HMGET', KEYS[2 + 3 * g], 'c', 'i')
  held[g] = (counts[1] or counts[2]) and counts
  if not held[g] and tonumber(ARGV[at + 1]) < freshFrom then absent[#absent + 1] = g - 1 end
  at = at + 5 + ARGV[at + 4]
  at = at + 1 + ARGV[at]
  at = at + 1 + 3 * ARGV[at]
end
if #absent > 0 then return {'absent', absent} end

local function element(hex)
  return struct.pack('>I4I4', tonumber(string.sub(hex, 1, 8), 16), tonumber(string.sub(hex, 9), 16))
end

-- PFADD takes its users in slices, as Lua can unpack no more than some 8,000 values.
local SLICE = 4000
local function addUsers(key, list, first, last)
  for from = first, last, SLICE do
    local elements = {}
    for n = from, math.min(from + SLICE - 1, last) do elements[#elements + 1] = element(list[n]) end
    redis.call('PFADD', key, unpack(elements))
  end
end

-- Second pass: apply.
local duplicates, idKey, eventCount = {}, 4 + 3 * groupCount, 0
at = 6
for g = 1, groupCount do
  local countsKey, viewersKey, clickersKey = KEYS[2 + 3 * g], KEYS[3 + 3 * g], KEYS[4 + 3 * g]
  local name, hour = ARGV[at], ARGV[at + 1]
  local added = { c = tonumber(ARGV[at + 2]), i = tonumber(ARGV[at + 3]) }
  local firstViewer, lastViewer = at + 5, at + 4 + ARGV[at + 4]
  local firstClicker, lastClicker = lastViewer + 2, lastViewer + 1 + ARGV[lastViewer + 1]
  at = lastClicker + 1
  local withIds = { c = {}, i = {} }
  for _ = 1, tonumber(ARGV[at]) do
    local field, user, ordinal = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
    idKey = idKey + 1
    if redis.call('SET', KEYS[idKey], '1', 'NX', 'PX', ARGV[4]) then
      added[field] = added[field] + 1
      if user ~= '' then table.insert(withIds[field], user) end
    else
      duplicates[#duplicates + 1] = ordinal
    end
    at = at + 3
  end
  at = at + 1
  eventCount = eventCount + added.c + added.i
  if added.c > 0 or added.i > 0 then
    local before = held[g] or {}
    local clicks, impressions = (before[1] or 0) + added.c, (before[2] or 0) + added.i
    redis.call('HSET', countsKey, 'c', clicks, 'i', impressions, 'w:' .. ARGV[1], seq)
    addUsers(viewersKey, ARGV, firstViewer, lastViewer)
    addUsers(clickersKey, ARGV, firstClicker, lastClicker)
    addUsers(viewersKey, withIds.i, 1, #withIds.i)
    addUsers(clickersKey, withIds.c, 1, #withIds.c)
    if not held[g] then redis.call('ZADD', hoursKey, hour, name) end
  end
end

local duplicateList = table.concat(duplicates, ',')
redis.call('XADD', journalKey, seq .. '-0', 'b', ARGV[3], 'd', duplicateList)
redis.call('HSET', writerKey, 'last', seq, 'events', state[3] + eventCount)
return {'committed', duplicateList}

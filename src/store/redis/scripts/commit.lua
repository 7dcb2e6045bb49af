-- Applies one batch: event ids, the writer, the journal entry, then counts and sketches.
-- KEYS: writer, journal, meta, hours, then (counts, viewers, clickers) per group, then one key per event id.
-- ARGV: writer name, seq, journal entry, id lifetime ms, groups in JSON (many short arguments would take longer).
--   A group: name in `hours`, hour, clicks, impressions (both of events without id), viewers, clickers, and for each
--   event with an id: field in counts ('c' or 'i'), user, ordinal in the batch. Several users are one text.
-- A user is an element for PFADD that raises the user's register (8 bytes in hex), or empty if the sketch is known to
-- have it. Groups differ in stream or hour.
-- A script cannot roll back, so nothing is written before every refusal has been ruled out. If a write fails all the
-- same (a right was revoked, the server is full), nothing is left if it precedes the journal entry. If it follows the
-- entry (a key was damaged or deleted), the batch is stored but its hours lack it, and the data set must be initialized
-- again.
-- Every key is named, so while the slot is moved the script starts only where all of them are. A key that is there
-- cannot go before the script ends, except `meta`, which the script drops itself and reads no more than once afterwards
-- (and an id whose 24 hours end in the microseconds between that check and the start).
local writerKey, journalKey, metaKey, hoursKey = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local seq = tonumber(ARGV[2])

local state = redis.call('HMGET', writerKey, 'last', 'fenced', 'events')
local last = tonumber(state[1] or -1)
-- Acknowledged batches, or the writer itself, are gone: this data set is no longer complete.
if seq > last + 1 then redis.call('DEL', metaKey) end
if not state[1] then return {'unknown'} end
if state[2] then return {'fenced'} end
if seq <= last then
  local entry = redis.call('XRANGE', journalKey, seq .. '-0', seq .. '-0')[1]
  return {'committed', entry and entry[2][4] or ''}
end
local freshFrom = tonumber(redis.call('HGET', metaKey, 'freshFrom') or nil)
if not freshFrom then return {'uninitialized'} end

local groups = cjson.decode(ARGV[5])

-- First pass: which hours are not held here, and may not be assumed to be empty?
local held, absent = {}, {}
for g, group in ipairs(groups) do
  local counts = redis.call('HMGET', KEYS[2 + 3 * g], 'c', 'i')
  held[g] = (counts[1] or counts[2]) and counts
  if not held[g] and group[2] < freshFrom then absent[#absent + 1] = g - 1 end
end
if #absent > 0 then return {'absent', absent} end

-- Second pass: which ids are new? Whatever makes a SET fail makes the first one fail.
local firstIdKey = 5 + 3 * #groups
local duplicates, added, users, idKey, eventCount = {}, {}, {}, firstIdKey, 0
for g, group in ipairs(groups) do
  local _, _, clicks, impressions, viewers, clickers, withIds = unpack(group)
  local counts, elements = { c = clicks, i = impressions }, { c = { clickers }, i = { viewers } }
  for n = 1, #withIds, 3 do
    if redis.call('SET', KEYS[idKey], '1', 'NX', 'PX', ARGV[4]) then
      local field = withIds[n]
      counts[field] = counts[field] + 1
      table.insert(elements[field], withIds[n + 1])
    else
      duplicates[#duplicates + 1] = withIds[n + 2]
    end
    idKey = idKey + 1
  end
  eventCount = eventCount + counts.c + counts.i
  added[g], users[g] = counts, elements
end

local duplicateList = table.concat(duplicates, ',')
local noted = redis.pcall('HSET', writerKey, 'last', seq, 'events', state[3] + eventCount)
local failed = type(noted) == 'table' and noted
if not failed then
  local entry = redis.pcall('XADD', journalKey, seq .. '-0', 'b', ARGV[3], 'd', duplicateList)
  failed = type(entry) == 'table' and entry
  if failed then redis.call('HSET', writerKey, 'last', last, 'events', state[3]) end
end
if failed then
  -- The new ids are those that are not duplicates. Both lists are in order.
  local nextDuplicate = 1
  idKey = firstIdKey
  for _, group in ipairs(groups) do
    for n = 3, #group[7], 3 do
      if group[7][n] == duplicates[nextDuplicate] then
        nextDuplicate = nextDuplicate + 1
      else
        redis.call('DEL', KEYS[idKey])
      end
      idKey = idKey + 1
    end
  end
  return failed
end

-- PFADD gets its users in slices, because Lua can unpack only about 8,000 values.
local ELEMENT, SLICE = 16, 4000 * 16
local function addUsers(key, users, countBefore)
  if users == '' then return end
  if tonumber(countBefore or 0) > 0 and redis.call('EXISTS', key) == 0 then error('a sketch is missing') end
  for from = 1, #users, SLICE do
    local elements = {}
    for at = from, math.min(from + SLICE - 1, #users), ELEMENT do
      local high, low = string.sub(users, at, at + 7), string.sub(users, at + 8, at + 15)
      elements[#elements + 1] = struct.pack('>I4I4', tonumber(high, 16), tonumber(low, 16))
    end
    redis.call('PFADD', key, unpack(elements))
  end
end

-- Third pass: counts and sketches. Ends with an error if something else has deleted the counts of an hour, or a sketch:
-- made anew, they would lack what they had, and nothing would show it.
local function apply()
  local writerField = 'w:' .. ARGV[1]
  for g, group in ipairs(groups) do
    local new = added[g]
    if new.c > 0 or new.i > 0 then
      if not held[g] then
        if redis.call('ZADD', hoursKey, group[2], group[1]) == 0 then error('counts are missing') end
        redis.call('HINCRBY', metaKey, 'held', 1)
      end
      local before, counts = held[g] or {}, { writerField, ARGV[2] }
      if new.c > 0 then counts[3], counts[4] = 'c', (before[1] or 0) + new.c end
      if new.i > 0 then counts[#counts + 1], counts[#counts + 2] = 'i', (before[2] or 0) + new.i end
      redis.call('HSET', KEYS[2 + 3 * g], unpack(counts))
      addUsers(KEYS[3 + 3 * g], table.concat(users[g].i), before[2])
      addUsers(KEYS[4 + 3 * g], table.concat(users[g].c), before[1])
    end
  end
end

if not pcall(apply) then redis.call('DEL', metaKey) end
return {'committed', duplicateList}

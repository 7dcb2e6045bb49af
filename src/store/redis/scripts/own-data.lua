-- Prepended to the scripts that get the data set as their last key, and as their last argument the identity of the
-- database that it must belong to (or empty if that is not known yet). It removes both. An empty server belongs to any
-- database.
do
  local found, own = redis.pcall('HGET', table.remove(KEYS), 'identity'), table.remove(ARGV)
  if type(found) == 'string' and own ~= '' and found ~= own then return redis.error_reply('OTHERDATABASE ' .. found) end
end


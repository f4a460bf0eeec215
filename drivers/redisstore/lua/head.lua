#!lua flags=no-writes
-- Reads a session as MGET does, but with no values. These are the last field of a record, and no string of JSON holds the quote in its name.
-- KEYS: session, seen, mark.
local found = redis.call('MGET', KEYS[1], KEYS[2], KEYS[3])
local values = found[1] and string.find(found[1], ',"values', 1, true)
if values then found[1] = string.sub(found[1], 1, values - 1) .. ',"values":{}}' end
return found

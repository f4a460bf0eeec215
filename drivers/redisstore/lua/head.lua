#!lua flags=no-writes
-- Reads a session as MGET does, without its values. They are the last field of
-- a record, and no JSON string contains the quote that its name begins with.
local session, seen, mark = unpack(KEYS)
local found = redis.call('MGET', session, seen, mark)
local values = found[1] and string.find(found[1], ',"values', 1, true)
if values then found[1] = string.sub(found[1], 1, values - 1) .. ',"values":{}}' end
return found

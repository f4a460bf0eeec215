#!lua flags=no-writes
-- Counts the sessions of a bucket: logged in, and anonymous.
local mark, logged_in, anon = unpack(KEYS)
local at = mark_at(mark)
local from = at and '(' .. at or '-inf'
return {redis.call('ZCOUNT', logged_in, from, '+inf'), redis.call('ZCOUNT', anon, from, '+inf')}

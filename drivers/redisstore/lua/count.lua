#!lua flags=no-writes
-- Counts the sessions of a bucket. KEYS: mark, in, anon.
local mark = mark_at(KEYS[1])
local from = mark and '(' .. mark or '-inf'
return {redis.call('ZCOUNT', KEYS[2], from, '+inf'), redis.call('ZCOUNT', KEYS[3], from, '+inf')}

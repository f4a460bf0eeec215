#!lua flags=allow-oom
-- Notes activity. It may run when memory is full: a session that is used must not end for want of a hundred bytes.
-- KEYS: session, seen, mark. ARGV: at, now, what the key seen is to say.
local at, now = tonumber(ARGV[1]), tonumber(ARGV[2])
local s = look(KEYS[1], KEYS[2], KEYS[3])
if s.state ~= 'live' then return {s.state} end
if expired(s, now) then return {'ended'} end
if at <= s.last then return {'ok'} end
s.last = at
local ms = life(deadline(s), now)
redis.call('SET', KEYS[2], ARGV[3], 'PX', ms)
redis.call('PEXPIRE', KEYS[1], ms)
return {'ok'}

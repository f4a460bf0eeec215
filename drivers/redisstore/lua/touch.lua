#!lua flags=allow-oom
-- Notes activity. touch is the new text of the key seen. It runs when memory is
-- full too: a session in use must not end for want of a hundred bytes.
local session, seen = unpack(KEYS)
local at, now, touch = unpack(ARGV)
at, now = tonumber(at), tonumber(now)
local s = look(session_keys())
if s.state ~= 'live' then return {s.state} end
if expired(s, now) then return {'ended'} end
if at <= s.last then return {'ok'} end
s.last = at
local ms = life(deadline(s), now)
redis.call('SET', seen, touch, 'PX', ms)
redis.call('PEXPIRE', session, ms)
return {'ok'}

#!lua flags=no-writes
-- Says what a session is at a time, without its data.
-- KEYS: session, seen, mark. ARGV: now.
local s = look(KEYS[1], KEYS[2], KEYS[3])
local mark = s.mark and text_of(s.mark) or ''
if s.state ~= 'live' then return {s.state, mark} end
local state = expired(s, tonumber(ARGV[1])) and 'expired' or 'live'
return {state, mark, s.revision, s.ticket, subject_of(s.text)}

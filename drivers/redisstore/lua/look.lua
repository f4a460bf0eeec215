#!lua flags=no-writes
-- Returns a session's state at a time: 'live', 'expired' or as look says; the
-- mark; and of a session that isn't over, its revision, its ticket and the
-- field of its subject.
local now = unpack(ARGV)
local s = look(session_keys())
local mark = s.mark and text_of(s.mark) or ''
if s.state ~= 'live' then return {s.state, mark} end
local state = expired(s, tonumber(now)) and 'expired' or 'live'
return {state, mark, s.revision, s.ticket, subject_of(s.text)}

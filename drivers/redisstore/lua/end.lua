#!lua flags=allow-oom
-- Ends a session. reason is JSON.
-- Returns 'buried', the field of the subject and the ticket; or the state of a
-- session that isn't live.
local keys = session_keys()
local id, reason, at = unpack(ARGV)
local s = look(keys)
if s.state ~= 'live' then
  again(keys.session)
  return {s.state}
end
bury(keys, id, s.text, reason, tonumber(at))
return {'buried', subject_of(s.text), s.ticket}

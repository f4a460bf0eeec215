#!lua flags=allow-oom
-- Ends a session.
-- KEYS: session, seen, mark, in, anon, due, gone. ARGV: id, reason as JSON, at.
local s = look(KEYS[1], KEYS[2], KEYS[3])
if s.state ~= 'live' then
  again(KEYS[1])
  return {s.state}
end
bury({session = KEYS[1], seen = KEYS[2], ['in'] = KEYS[4], anon = KEYS[5], due = KEYS[6], gone = KEYS[7]}, ARGV[1], s.text, ARGV[2], tonumber(ARGV[3]))
return {'buried', subject_of(s.text), s.ticket}

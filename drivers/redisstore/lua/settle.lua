#!lua flags=allow-oom
-- Settles a member of a subject's index: the session that has its ticket, or a
-- write under that ticket that may still come. reason is JSON. how is
--   'expire': end the session if it has expired;
--   'lapse':  the same, and bar the write if there is no session;
--   'evict':  end the session; if there is none, let the write end it at once;
--   'end':    end the session, and bar the write if there is no session.
-- Returns 'live'; 'pending' if the write may still come; 'over' if the session
-- had ended; 'blocked'; or 'buried' with the reason and the time.
local keys = session_keys()
local id, ticket, how, at, reason = unpack(ARGV)
local s = look(keys)
if s.state == 'newer' or s.state == 'damaged' then return {s.state} end
if s.ticket == ticket then
  if s.state ~= 'live' then
    again(keys.session)
    return {'over'}
  end
  local why, since = expired(s, tonumber(at))
  if how == 'end' or (how == 'evict' and not why) then why, since = reason, tonumber(at) end
  if not why then return {'live'} end
  bury(keys, id, s.text, why, since)
  return {'buried', why, text_of(since)}
end
if how == 'expire' then return {'pending'} end
redis.call('SET', keys.block, how == 'evict' and 'evicted ' .. at or 'again', 'PX', text_of(BLOCK_LIFE))
return {'blocked'}

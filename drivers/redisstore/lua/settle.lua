#!lua flags=allow-oom
-- Settles what is behind a member of a subject's index: the session that has its ticket, or a write that may still come.
-- KEYS: session, seen, mark, in, anon, due, gone, block.
-- ARGV: id, ticket, how, at, reason as JSON. how is
--   'expire': end the session if it is expired;
--   'lapse':  the same, and if there is no such session, none may come;
--   'evict':  end the session, and if there is none, have the one that comes end at once;
--   'end':    end the session, and if there is none, none may come.
-- Returns 'live', 'pending' (there is no such session, but one may come), 'over' (it had ended), 'blocked', or 'buried' with the reason and the time.
local id, ticket, how, at = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local s = look(KEYS[1], KEYS[2], KEYS[3])
if s.state == 'newer' or s.state == 'damaged' then return {s.state} end
if s.ticket == ticket then
  if s.state ~= 'live' then
    again(KEYS[1])
    return {'over'}
  end
  local reason, since = expired(s, at)
  if how == 'end' or (how == 'evict' and not reason) then reason, since = ARGV[5], at end
  if not reason then return {'live'} end
  bury({session = KEYS[1], seen = KEYS[2], ['in'] = KEYS[4], anon = KEYS[5], due = KEYS[6], gone = KEYS[7]}, id, s.text, reason, since)
  return {'buried', reason, text_of(since)}
end
if how == 'expire' then return {'pending'} end
redis.call('SET', KEYS[8], how == 'evict' and 'evicted ' .. ARGV[4] or 'again', 'PX', text_of(BLOCK_LIFE))
return {'blocked'}

-- Replaces a session's record if it still has the expected revision.
--   now       '' for a confirmation, which does not look at deadlines
--   arrived   '' unless this is a login
--   times     the fields expires_at, idle_ms and last_seen_at
--   subject   the field of the subject
--   rest      the record's text behind the ticket
--   ticket    '' to keep the ticket
--   issued    when the ticket was issued, '' for one that the session has already
--   room      'less' to write only a record that does not grow
--   extended  'extended' if the subject's index already lasts until expires
-- Returns 'ok', or 'evicted' with a time, then the former field of the subject
-- and the former ticket; 'moves' with the same two if the session must join a
-- subject first; 'extends' if the index must last longer first; or a word for
-- the reason why nothing was written.
local keys = session_keys()
local id, revision, next_revision, now, arrived, times, expires, idle, last, subject, rest, ticket, issued, fence, room, extended = unpack(ARGV)
local s = look(keys)
if s.state ~= 'live' then return {s.state} end
now = tonumber(now)
if now and expired(s, now) then return {'ended'} end
if s.revision ~= revision then return {'conflict'} end
if arrived ~= '' and s.mark and s.mark >= tonumber(arrived) then return {'barrier'} end

local before, joins = subject_of(s.text), ticket ~= ''
local moved, anonymous = before ~= subject, subject == ANONYMOUS
expires, last = tonumber(expires), tonumber(last)
if moved and anonymous then
  ticket = ''
elseif not joins then
  if moved then return {'moves', before, s.ticket} end
  ticket = s.ticket
end
if not anonymous and expires > s.expires and not joins and extended == '' then return {'extends'} end

local verdict, evicted_at
if issued ~= '' then verdict, evicted_at = reservation(keys, issued, fence) end
if verdict == 'again' then return {'again'} end

local text = '{"v":1,"revision":' .. next_revision .. ',"created_at":' .. s.created .. times .. ',"ticket":"' .. ticket .. rest
if room == 'less' and #text > #s.text then return {'full'} end
if verdict == 'evicted' then
  bury(keys, id, text, '"evicted"', tonumber(evicted_at))
  return {'evicted', evicted_at, before, s.ticket}
end

-- The later activity stays, with its client: in the key seen if the record that
-- is replaced has it.
local touch
if last < s.written and not (s.touched and s.touched > s.written) then
  local client = string.match(string.sub(s.text, 1, string.find(s.text, ',"values', 1, true) - 1), ',"client":(.*)$')
  touch = '{"last_seen_at":' .. text_of(s.written) .. ',"last_client":' .. string.gsub(client, '^.*,"last_client":', '') .. '}'
end
local old = deadline(s)
local new = {last = math.max(last, s.last), idle = tonumber(idle), expires = expires}
if now then
  local own, other = keys.logged_in, keys.anon
  if anonymous then own, other = other, own end
  if deadline(new) < old then redis.call('ZADD', keys.due, 'LT', text_of(deadline(new)), id) end -- the sweep may come early, never late
  if expires > s.expires then
    keep(keys.due, life(expires, now))
    keep(own, life(expires, now))
  end
  if moved then
    redis.call('ZADD', own, s.created, id)
    keep(own, life(expires, now))
    redis.call('ZREM', other, id)
  end
  redis.call('SET', keys.session, text, 'PX', life(deadline(new), now))
else
  redis.call('SET', keys.session, text, 'KEEPTTL')
end
if touch then
  redis.call('SET', keys.seen, touch, 'PX', text_of(math.max(redis.call('PTTL', keys.session), SLACK)))
elseif s.seen and (not s.touched or last >= s.touched) then -- a foreign text goes too: no Get could read the session
  redis.call('DEL', keys.seen)
elseif s.touched and now then
  redis.call('PEXPIRE', keys.seen, life(deadline(new), now))
end
tell(keys.changed)
return {'ok', before, s.ticket}

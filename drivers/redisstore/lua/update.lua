-- Replaces a session if its revision is the one expected.
-- KEYS: session, seen, mark, in, anon, due, block, changed, gone.
-- ARGV: id, revision expected, next revision, now ('': deadlines don't matter), arrived ('': not a login),
--   times (the fields expires_at, idle_ms, last_seen_at), expires at, idle, last seen at, field of the subject ('': anonymous), what comes behind the ticket,
--   ticket ('': as it is), time of its issue ('' for one that the session has), fence, room ('less': only if the record doesn't grow),
--   'extended' if the subject's index lasts until the new absolute deadline.
local id, subject = ARGV[1], ARGV[10]
local s = look(KEYS[1], KEYS[2], KEYS[3])
if s.state ~= 'live' then return {s.state} end
local now = tonumber(ARGV[4])
if now and expired(s, now) then return {'ended'} end
if s.revision ~= ARGV[2] then return {'conflict'} end
if ARGV[5] ~= '' and s.mark and s.mark >= tonumber(ARGV[5]) then return {'barrier'} end

local before, ticket = subject_of(s.text), s.ticket
local moved = before ~= subject
local anonymous = subject == ',"subject":""'
local expires, last = tonumber(ARGV[7]), tonumber(ARGV[9])
if moved and anonymous then
  ticket = ''
elseif ARGV[12] ~= '' then
  ticket = ARGV[12]
elseif moved then
  return {'moves', before, s.ticket}
end
if not anonymous and expires > s.expires and ARGV[12] == '' and ARGV[16] == '' then return {'extends'} end

local evicted
if ARGV[13] ~= '' then
  local blocked = redis.call('GET', KEYS[7])
  evicted = blocked and string.match(blocked, '^evicted (%-?%d+)$')
  if blocked and not evicted then return {'again'} end
  local t = redis.call('TIME')
  if t[1] * 1000 + math.floor(t[2] / 1000) > tonumber(ARGV[13]) + tonumber(ARGV[14]) then return {'again'} end
end

local text = '{"v":1,"revision":' .. ARGV[3] .. ',"created_at":' .. s.created .. ARGV[6] .. ',"ticket":"' .. ticket .. ARGV[11]
if ARGV[15] == 'less' and #text > #s.text then return {'full'} end
if evicted then
  bury({session = KEYS[1], seen = KEYS[2], ['in'] = KEYS[4], anon = KEYS[5], due = KEYS[6], gone = KEYS[9]}, id, text, '"evicted"', tonumber(evicted))
  return {'evicted', evicted, before, s.ticket}
end

-- The later time of activity stays, with its client: in a key of its own where it isn't the new record's.
local touch
if last < s.written and not (s.touched and s.touched > s.written) then
  local client = string.match(string.sub(s.text, 1, string.find(s.text, ',"values', 1, true) - 1), ',"client":(.*)$')
  touch = '{"last_seen_at":' .. text_of(s.written) .. ',"last_client":' .. string.gsub(client, '^.*,"last_client":', '') .. '}'
end
local old = deadline(s)
local new = {last = math.max(last, s.last), idle = tonumber(ARGV[8]), expires = expires}
if now then
  if deadline(new) < old then redis.call('ZADD', KEYS[6], 'LT', text_of(deadline(new)), id) end -- the sweep may come early, never late
  if expires > s.expires then
    keep(KEYS[6], life(expires, now))
    keep(anonymous and KEYS[5] or KEYS[4], life(expires, now))
  end
  if moved then
    local to = anonymous and KEYS[5] or KEYS[4]
    redis.call('ZADD', to, s.created, id)
    keep(to, life(expires, now))
    redis.call('ZREM', anonymous and KEYS[4] or KEYS[5], id)
  end
  redis.call('SET', KEYS[1], text, 'PX', life(deadline(new), now))
else
  redis.call('SET', KEYS[1], text, 'KEEPTTL')
end
if touch then
  redis.call('SET', KEYS[2], touch, 'PX', text_of(math.max(redis.call('PTTL', KEYS[1]), SLACK)))
elseif s.seen and (not s.touched or last >= s.touched) then -- without a time it isn't the store's, and would keep the session from being read
  redis.call('DEL', KEYS[2])
elseif s.touched and now then
  redis.call('PEXPIRE', KEYS[2], life(deadline(new), now))
end
tell(KEYS[8])
return {'ok', before, s.ticket}

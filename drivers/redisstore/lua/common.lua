-- What the scripts share. A session's record is JSON in a fixed order (see record.go):
--   {"v":1,"revision":...,"created_at":...,"expires_at":...,"idle_ms":...,"last_seen_at":...,"ticket":"...", secrets, "subject":..., the rest}
-- and that of an ended one
--   {"v":1,"end":...,"end_at":...,"revision":..., secrets}
-- so that the scripts read what they need from its beginning, and never parse JSON that a person has written.

local SLACK = 6 * 3600 * 1000 -- keys outlive their use by so long: the caller's clock decides, Redis only frees space
local TOMBSTONE_LIFE = 3600 * 1000
local BLOCK_LIFE = 600 * 1000

local function text_of(number) return string.format('%.0f', number) end

-- foreign ends the script since a key holds what isn't the store's. exec.go knows the error.
local function foreign(key) error({err = 'FOREIGN ' .. key}) end

-- mark_at returns an application's mark as text, if there is one.
local function mark_at(key)
  local text = redis.call('GET', key)
  if text and not string.match(text, '^%-?%d+$') then foreign(key) end
  return text
end

-- look returns a session as a table: its state is 'absent', 'newer', 'damaged', 'ended', 'revoked' (under the
-- application's mark) or 'live'.
local function look(session_key, seen_key, mark_key)
  local text = redis.call('GET', session_key)
  local seen = redis.call('GET', seen_key)
  local mark = tonumber(mark_at(mark_key) or nil)
  if not text then return {state = 'absent', mark = mark} end
  local version = string.match(text, '^{"v":(%d+),')
  if version ~= '1' then return {state = version and 'newer' or 'damaged', mark = mark} end
  if string.sub(text, 8, 13) == '"end":' then
    return {state = 'ended', mark = mark, ticket = string.match(text, '"ticket":"([^"]*)"')}
  end
  local revision, created, expires, idle, last, ticket = string.match(text,
    '^{"v":1,"revision":(%d+),"created_at":(%-?%d+),"expires_at":(%-?%d+),"idle_ms":(%-?%d+),"last_seen_at":(%-?%d+),"ticket":"([^"]*)"')
  if not revision then return {state = 'damaged', mark = mark} end
  local s = {state = 'live', mark = mark, text = text, revision = revision, created = created, ticket = ticket,
    expires = tonumber(expires), idle = tonumber(idle), written = tonumber(last), last = tonumber(last), seen = seen}
  if seen then
    s.touched = tonumber(string.match(seen, '^{"last_seen_at":(%-?%d+)'))
    if s.touched and s.touched > s.last then s.last = s.touched end
  end
  if mark and tonumber(created) <= mark then s.state = 'revoked' end
  return s
end

-- expired returns the reason for which, and the time since when, a session is expired.
local function expired(s, now)
  local idle = s.last + s.idle
  if now < idle and now < s.expires then return nil end
  if idle < s.expires then return '"idle"', idle end
  return '"absolute"', s.expires
end

local function deadline(s) return math.min(s.last + s.idle, s.expires) end

-- life is how long a key must be kept that is of use until a time: always above zero, whatever the clocks say.
local function life(till, now) return text_of(math.min(math.max(till - now, 0) + SLACK, 2 ^ 53)) end

-- keep sees to it that an index lasts for a while, and never shortens it. It is set to more, so that this is rarely needed.
local function keep(key, ms)
  if redis.call('PTTL', key) < tonumber(ms) then redis.call('PEXPIRE', key, text_of(tonumber(ms) + SLACK)) end
end

-- again writes to a session that has ended what is so already: who waits for the replicas waits for what was written on the
-- connection, and so for all that was written before it, the end too.
local function again(key)
  local ms = redis.call('PTTL', key)
  if ms > 0 then redis.call('PEXPIRE', key, ms) end
end

-- tell has the feeds report a change, which the key's name says. Replicas need not know: who listens to them, hears of
-- nothing, and who comes to them after a failover, begins anew.
local function tell(key)
  redis.set_repl(redis.REPL_NONE)
  redis.call('SET', key, '')
  redis.call('DEL', key)
  redis.set_repl(redis.REPL_ALL)
end

local function subject_at(text) return string.find(text, ',"subject', 1, true) end

-- subject_of returns the field of the subject, with the comma before it.
local function subject_of(text)
  local from = subject_at(text)
  return string.sub(text, from, string.find(text, ',"authenticated_at":', from, true) - 1)
end

-- bury puts a tombstone in the place of a session. reason is JSON. The index that the session isn't in comes first: if a foreign key is in
-- its place, that fails before the session has left its own.
local function bury(keys, id, text, reason, at)
  local ms = text_of(TOMBSTONE_LIFE + SLACK)
  local own, other = keys['in'], keys.anon
  if subject_of(text) == ',"subject":""' then own, other = other, own end
  redis.call('ZADD', keys.due, text_of(at + TOMBSTONE_LIFE + 1), id)
  keep(keys.due, ms)
  redis.call('ZREM', other, id)
  redis.call('ZREM', own, id)
  redis.call('SET', keys.session, '{"v":1,"end":' .. reason .. ',"end_at":' .. text_of(at) .. string.sub(text, 7, subject_at(text) - 1) .. '}', 'PX', ms)
  redis.call('DEL', keys.seen)
  tell(keys.gone)
end

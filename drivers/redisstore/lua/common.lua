-- Shared by the scripts: newScript puts this text behind their first line.
--
-- A session's record is a JSON text whose fields have a fixed order (codec.go):
--   {"v":1,"revision":...,"created_at":...,"expires_at":...,"idle_ms":...,
--    "last_seen_at":...,"ticket":"...", secrets, "subject":..., the rest}
-- The record of an ended session, its tombstone, is
--   {"v":1,"end":...,"end_at":...,"revision":..., secrets}
-- So the scripts read the few fields that they need with patterns. They never
-- parse a value of the application.

local SLACK = 6 * 3600 * 1000 -- keys outlive their use by this: callers' clocks decide, Redis only frees space
local TOMBSTONE_LIFE = 3600 * 1000
local BLOCK_LIFE = 600 * 1000
local MAX_ENDED = 100 -- store.MaxEnded
local ANONYMOUS = ',"subject":""'

local function text_of(number) return string.format('%.0f', number) end

-- clock returns Redis' time in milliseconds.
local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- foreign ends the script because the store did not write what a key holds.
-- answerOf in run.go knows the error.
local function foreign(key) error({err = 'FOREIGN ' .. key}) end

-- session_keys names the keys of a script about one session, in the order of
-- place.readKeys, endKeys and writeKeys in keys.go.
local function session_keys()
  return {session = KEYS[1], seen = KEYS[2], mark = KEYS[3], logged_in = KEYS[4], anon = KEYS[5], due = KEYS[6],
    gone = KEYS[7], block = KEYS[8], changed = KEYS[9]}
end

-- mark_at returns an application's mark as text, or nil.
local function mark_at(key)
  local text = redis.call('GET', key)
  if text and not string.match(text, '^%-?%d+$') then foreign(key) end
  return text
end

-- look reads a session. The state is 'absent', 'newer', 'damaged', 'ended',
-- 'revoked' (by the application's mark) or 'live'.
local function look(keys)
  local text = redis.call('GET', keys.session)
  local seen = redis.call('GET', keys.seen)
  local mark = tonumber(mark_at(keys.mark) or nil)
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

-- expired returns the reason, as JSON, and the time if a session has expired.
local function expired(s, now)
  local idle = s.last + s.idle
  if now < idle and now < s.expires then return nil end
  if idle < s.expires then return '"idle"', idle end
  return '"absolute"', s.expires
end

local function deadline(s) return math.min(s.last + s.idle, s.expires) end

-- life returns how many milliseconds to keep a key that is used until a time.
-- It is above zero, whatever the clocks say.
local function life(till, now) return text_of(math.min(math.max(till - now, 0) + SLACK, 2 ^ 53)) end

-- keep extends the life of an index to at least ms, and never shortens it. The
-- additional slack makes extensions rare.
local function keep(key, ms)
  if redis.call('PTTL', key) < tonumber(ms) then redis.call('PEXPIRE', key, text_of(tonumber(ms) + SLACK)) end
end

-- again rewrites the life of an ended session's key. WAIT only waits for writes
-- of its own connection; this one follows the end, so replicas have both.
local function again(key)
  local ms = redis.call('PTTL', key)
  if ms > 0 then redis.call('PEXPIRE', key, ms) end
end

-- tell reports a change on the feeds: the key's name is the message. Replicas
-- don't need it, because a feed begins with a gap after a failover.
local function tell(key)
  redis.set_repl(redis.REPL_NONE)
  redis.call('SET', key, '')
  redis.call('DEL', key)
  redis.set_repl(redis.REPL_ALL)
end

local function subject_at(text) return string.find(text, ',"subject', 1, true) end

-- subject_of returns the field of the subject with the comma before it.
local function subject_of(text)
  local from = subject_at(text)
  return string.sub(text, from, string.find(text, ',"authenticated_at":', from, true) - 1)
end

-- reservation checks the reservation or claim under which a session is to be
-- written. It returns 'again' if that was taken back or has lapsed. It returns
-- 'evicted' and a time if a later login has evicted the session already.
local function reservation(keys, issued, fence)
  local blocked = redis.call('GET', keys.block)
  local evicted = blocked and string.match(blocked, '^evicted (%-?%d+)$')
  if blocked and not evicted then return 'again' end
  if clock() > tonumber(issued) + tonumber(fence) then return 'again' end
  if evicted then return 'evicted', evicted end
end

-- remember adds a session that ends to what the bucket knows of its subject's
-- ended sessions: a sorted set, by the time of the end. Each member is a JSON text
-- that codec.go reads. Nothing relies on it, so a foreign key stays as it is.
local function remember(keys, id, text, reason, at)
  local client = string.match(string.sub(text, 1, string.find(text, ',"values', 1, true) - 1), ',"client":(.*)$')
  client = string.gsub(client, '^.*,"last_client":', '')
  local seen = redis.call('GET', keys.seen)
  local touched, later = string.match(seen or '', '^{"last_seen_at":(%-?%d+),"last_client":(.*)}$')
  local last = string.match(text, ',"last_seen_at":(%-?%d+)')
  if touched and tonumber(touched) > tonumber(last) then client = later end
  local created = string.match(text, ',"created_at":(%-?%d+)')
  local key = string.gsub(string.sub(keys.session, 1, -37), ':s:{', ':ended:{', 1) .. redis.sha1hex(subject_of(text))
  local member = '{"id":"' .. id .. '","created_at":' .. created .. ',"end":' .. reason .. ',"client":' .. client .. '}'
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'zset' and kind ~= 'none' then return end
  redis.call('ZADD', key, text_of(at), member)
  for _, old in ipairs(redis.call('ZRANGE', key, 0, -1 - MAX_ENDED)) do redis.call('ZREM', key, old) end
  keep(key, text_of(TOMBSTONE_LIFE + SLACK))
end

-- bury replaces a session by its tombstone. reason is JSON. The index that does
-- not hold the session comes first: if its key is foreign, ZREM fails before
-- anything has changed in the other one.
local function bury(keys, id, text, reason, at)
  local ms = text_of(TOMBSTONE_LIFE + SLACK)
  local own, other = keys.logged_in, keys.anon
  local anonymous = subject_of(text) == ANONYMOUS
  if anonymous then own, other = other, own end
  redis.call('ZADD', keys.due, text_of(at + TOMBSTONE_LIFE + 1), id)
  keep(keys.due, ms)
  redis.call('ZREM', other, id)
  redis.call('ZREM', own, id)
  if not anonymous then remember(keys, id, text, reason, at) end
  redis.call('SET', keys.session, '{"v":1,"end":' .. reason .. ',"end_at":' .. text_of(at) .. string.sub(text, 7, subject_at(text) - 1) .. '}', 'PX', ms)
  redis.call('DEL', keys.seen)
  tell(keys.gone)
end

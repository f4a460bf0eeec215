#!lua flags=allow-oom
-- Sweeps a bucket, at most number sessions in each of three parts: it ends
-- expired sessions and removes old tombstones; removes what EndAll has ended;
-- and returns logged in sessions to compare with their subjects' indexes.
-- The three prefixes are the names of a session's keys up to its ID; turn and
-- histories are explained below; again is 'again' to begin the turn again.
-- Returns how many sessions it examined, how many of these it could not read,
-- and 1 if there may be more. Five values follow for each session: its ID, the
-- field of its subject, its ticket, a reason and a time. The reason is '' if the
-- session had ended before, and 'live', with the absolute deadline, for one to
-- compare.
local mark, logged_in, anon, due, compared = unpack(KEYS)
local now_text, number, session_prefix, seen_prefix, feed_prefix, turn, masters, again = unpack(ARGV)
local now, number = tonumber(now_text), tonumber(number)
local marked = tonumber(mark_at(mark) or nil)
local progress = redis.call('GET', compared) or '' -- first: nothing must end if this key is foreign
local at, histories = string.match(progress, '^(%-?%d+) ([%x,]*)')
local created, last = string.match(progress, '^%S+ %S* (%S+) (.*)$')
if progress ~= '' and not at then foreign(compared) end
local ids = redis.call('ZRANGE', due, '-inf', now_text, 'BYSCORE', 'LIMIT', 0, number)
local answer = {#ids, 0, #ids == number and 1 or 0}

local function report(id, s, reason, since)
  local n = #answer
  answer[n + 1], answer[n + 2], answer[n + 3], answer[n + 4], answer[n + 5] = id, subject_of(s.text), s.ticket, reason, since
end

local function keys_of(id)
  return {session = session_prefix .. id, seen = seen_prefix .. id, gone = feed_prefix .. id .. ':gone',
    mark = mark, logged_in = logged_in, anon = anon, due = due}
end

-- look_at is look, except that a key of another type counts as damaged: it must
-- not stop the sweep. Redis and Valkey differ in whether s is a table or a text.
local function look_at(keys)
  local ok, s = pcall(look, keys)
  if ok then return s end
  if not string.find(type(s) == 'table' and s.err or s, 'WRONGTYPE', 1, true) then error(s, 0) end
  return {state = 'damaged'}
end

local function remove(id, keys, s)
  if s.state == 'revoked' then report(id, s, '', '') end
  redis.call('DEL', keys.session, keys.seen)
  redis.call('ZREM', logged_in, id)
  redis.call('ZREM', anon, id)
  redis.call('ZREM', due, id)
end

for _, id in ipairs(ids) do
  local keys = keys_of(id)
  local s = look_at(keys)
  local reason, since
  if s.state == 'live' then reason, since = expired(s, now) end
  if s.state == 'newer' or s.state == 'damaged' then
    answer[2] = answer[2] + 1
    redis.call('ZADD', due, text_of(now + TOMBSTONE_LIFE), id) -- stays for a newer program or a person
  elseif s.state == 'revoked' and now <= s.mark + TOMBSTONE_LIFE then
    redis.call('ZADD', due, text_of(s.mark + TOMBSTONE_LIFE + 1), id)
    keep(due, text_of(TOMBSTONE_LIFE + SLACK))
  elseif reason then
    report(id, s, reason, text_of(since))
    bury(keys, id, s.text, reason, since)
  elseif s.state == 'live' then
    redis.call('ZADD', due, text_of(deadline(s)), id)
  else
    remove(id, keys, s)
  end
end

-- What EndAll has ended goes an hour later, and does not stay until its deadline.
if marked and now > marked + TOMBSTONE_LIFE then
  for _, index in ipairs({logged_in, anon}) do
    local revoked = redis.call('ZRANGE', index, '-inf', text_of(marked), 'BYSCORE', 'LIMIT', 0, number)
    answer[1] = answer[1] + #revoked
    if #revoked == number then answer[3] = 1 end
    for _, id in ipairs(revoked) do
      local keys = keys_of(id)
      local s = look_at(keys)
      if s.state == 'revoked' then remove(id, keys, s) else redis.call('ZREM', index, id) end
    end
  end
end

-- The key compared holds the bucket's progress: the turn, the masters' histories
-- that were known when the turn began, and the session that was compared last,
-- unless the turn is complete. A turn begins again when it is another turn, or
-- when a history appears that the key does not name (mend.go).
local anew = at ~= turn or again == 'again'
if at ~= turn then histories = '' end
for history in string.gmatch(masters, '[^,]+') do
  if not string.find(histories, history, 1, true) then
    histories, anew = histories == '' and history or histories .. ',' .. history, true
  end
end
if anew or created then
  local from = 0
  if not anew then
    local rank = redis.call('ZRANK', logged_in, last)
    from = rank and rank + 1 or redis.call('ZCOUNT', logged_in, '-inf', '(' .. created)
  end
  local some = redis.call('ZRANGE', logged_in, from, from + number - 1, 'WITHSCORES')
  for i = 1, #some, 2 do
    local s = look_at(keys_of(some[i]))
    if s.state == 'live' and not expired(s, now) then report(some[i], s, 'live', text_of(s.expires)) end
  end
  answer[1] = answer[1] + #some / 2
  local so_far = turn .. ' ' .. histories
  if #some == 2 * number then
    answer[3] = 1
    so_far = so_far .. ' ' .. some[#some] .. ' ' .. some[#some - 1]
  end
  redis.call('SET', compared, so_far, 'PX', text_of(SLACK))
end
return answer

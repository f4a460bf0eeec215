#!lua flags=allow-oom
-- Looks at the sessions of a bucket whose time has come: expired ones end, old tombstones go. Once in each turn it also looks at all that
-- are logged in, for their subjects' indexes to be compared with.
-- KEYS: mark, in, anon, due, compared. ARGV: now, number, beginnings of the names of sessions, of keys seen, of the feed, turn, histories of
-- the masters, 'again' if the turn must begin anew.
-- Returns how many it looked at, how many of them could not be read, 1 if there may be more, and for each session that ended or went: id,
-- field of its subject, ticket, reason, time (without a reason: it had ended before); for one to compare with: 'live', absolute deadline.
local now, number = tonumber(ARGV[1]), tonumber(ARGV[2])
local mark = tonumber(mark_at(KEYS[1]) or nil)
local compared = redis.call('GET', KEYS[5]) or '' -- before anything ends: if another's key is in its place, nothing does
local at, histories = string.match(compared, '^(%-?%d+) ([%x,]*)')
local created, last = string.match(compared, '^%S+ %S* (%S+) (.*)$')
if compared ~= '' and not at then foreign(KEYS[5]) end
local ids = redis.call('ZRANGE', KEYS[4], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, number)
local answer = {#ids, 0, #ids == number and 1 or 0}
local function tells(id, s, reason, since)
  local n = #answer
  answer[n + 1], answer[n + 2], answer[n + 3], answer[n + 4], answer[n + 5] = id, subject_of(s.text), s.ticket, reason, since
end
local function keys_of(id)
  return {session = ARGV[3] .. id, seen = ARGV[4] .. id, gone = ARGV[5] .. id .. ':gone', ['in'] = KEYS[2], anon = KEYS[3], due = KEYS[4]}
end
-- look_at is look, but for a key of another type, which must not keep the sweep from the others.
local function look_at(keys)
  local ok, s = pcall(look, keys.session, keys.seen, KEYS[1])
  if ok then return s end
  if not string.find(type(s) == 'table' and s.err or s, 'WRONGTYPE', 1, true) then error(s, 0) end -- which of the two depends on Redis
  return {state = 'damaged'}
end
local function remove(id, keys, s)
  if s.state == 'revoked' then tells(id, s, '', '') end
  redis.call('DEL', keys.session, keys.seen)
  redis.call('ZREM', keys['in'], id)
  redis.call('ZREM', keys.anon, id)
  redis.call('ZREM', keys.due, id)
end
for _, id in ipairs(ids) do
  local keys = keys_of(id)
  local s = look_at(keys)
  local reason, since
  if s.state == 'live' then reason, since = expired(s, now) end
  if s.state == 'newer' or s.state == 'damaged' then
    answer[2] = answer[2] + 1
    redis.call('ZADD', keys.due, text_of(now + TOMBSTONE_LIFE), id) -- for a newer program, or a person, to look at
  elseif s.state == 'revoked' and now <= s.mark + TOMBSTONE_LIFE then
    redis.call('ZADD', keys.due, text_of(s.mark + TOMBSTONE_LIFE + 1), id)
    keep(keys.due, text_of(TOMBSTONE_LIFE + SLACK))
  elseif reason then
    tells(id, s, reason, text_of(since))
    bury(keys, id, s.text, reason, since)
  elseif s.state == 'live' then
    redis.call('ZADD', keys.due, text_of(deadline(s)), id)
  else
    remove(id, keys, s)
  end
end

-- What EndAll has ended goes an hour later, not only at its deadline.
if mark and now > mark + TOMBSTONE_LIFE then
  for k = 2, 3 do
    local revoked = redis.call('ZRANGE', KEYS[k], '-inf', text_of(mark), 'BYSCORE', 'LIMIT', 0, number)
    answer[1] = answer[1] + #revoked
    if #revoked == number then answer[3] = 1 end
    for _, id in ipairs(revoked) do
      local keys = keys_of(id)
      local s = look_at(keys)
      if s.state == 'revoked' then remove(id, keys, s) else redis.call('ZREM', KEYS[k], id) end
    end
  end
end

-- The key compared says how far the bucket has come: the turn, the histories that were known when it began, and behind which session,
-- unless the turn is over. It begins anew where it isn't the present one, or where a history is known that it doesn't name.
local anew = at ~= ARGV[6] or ARGV[8] == 'again'
if at ~= ARGV[6] then histories = '' end
for history in string.gmatch(ARGV[7], '[^,]+') do
  if not string.find(histories, history, 1, true) then
    histories, anew = histories == '' and history or histories .. ',' .. history, true
  end
end
if anew or created then
  local from = 0
  if not anew then
    local rank = redis.call('ZRANK', KEYS[2], last)
    from = rank and rank + 1 or redis.call('ZCOUNT', KEYS[2], '-inf', '(' .. created)
  end
  local some = redis.call('ZRANGE', KEYS[2], from, from + number - 1, 'WITHSCORES')
  for i = 1, #some, 2 do
    local s = look_at(keys_of(some[i]))
    if s.state == 'live' and not expired(s, now) then tells(some[i], s, 'live', text_of(s.expires)) end
  end
  answer[1] = answer[1] + #some / 2
  local so_far = ARGV[6] .. ' ' .. histories
  if #some == 2 * number then
    answer[3] = 1
    so_far = so_far .. ' ' .. some[#some] .. ' ' .. some[#some - 1]
  end
  redis.call('SET', KEYS[5], so_far, 'PX', text_of(SLACK))
end
return answer

#!lua
-- Gives a session a place among the sessions of its subject.
--
-- The index is a sorted set of "id ticket". The score is the time of joining, or
-- the next free millisecond, so that no two members share a score. The score of
-- a member that must leave is negative.
--
-- kept is the ticket that the session has already, or ''; max is the limit, 0
-- for none; life_ms is how long the index must last. The remaining arguments are
-- members to remove. at_limit says what to do at the limit:
--   'look':   return 'full', Redis' time and all members;
--   'refuse': return 'limit';
--   'evict':  mark the oldest members as leaving.
-- Returns 'ok', the ticket, Redis' time, and the members that are leaving; or
-- 'barrier'.
local members, barrier = unpack(KEYS)
local id, nonce, kept, arrived, max, at_limit, life_ms = unpack(ARGV, 1, 7)
local raised = redis.call('GET', barrier)
local barred_at = raised and (string.match(raised, '^{"at":(%-?%d+)') or foreign(barrier))
for i = 8, #ARGV do redis.call('ZREM', members, ARGV[i]) end
if barred_at and tonumber(barred_at) >= tonumber(arrived) then return {'barrier'} end
local now = text_of(clock())

max = tonumber(max)
if max > 0 then
  local others, known = {}, {}
  for _, member in ipairs(redis.call('ZRANGE', members, '0', '+inf', 'BYSCORE')) do
    local other = string.sub(member, 1, 36)
    if other ~= id and not known[other] then
      known[other] = true
      others[#others + 1] = other
    end
  end
  local excess = #others + 1 - max
  if excess > 0 then
    if at_limit == 'look' then
      local answer = {'full', now}
      for _, member in ipairs(redis.call('ZRANGE', members, 0, -1)) do answer[#answer + 1] = member end
      return answer
    end
    if at_limit == 'refuse' then return {'limit'} end
    local leaves = {}
    for i = 1, excess do leaves[others[i]] = true end
    local list = redis.call('ZRANGE', members, '0', '+inf', 'BYSCORE', 'WITHSCORES')
    for i = 1, #list, 2 do
      if leaves[string.sub(list[i], 1, 36)] then redis.call('ZADD', members, text_of(-tonumber(list[i + 1])), list[i]) end
    end
  end
end

local ticket, score = kept, string.match(kept, '^%d+')
if kept == '' then
  local last = redis.call('ZRANGE', members, -1, -1, 'WITHSCORES')
  ticket, score = now .. '-' .. nonce, text_of(math.max(tonumber(now), tonumber(last[2] or 0) + 1))
end
local self = id .. ' ' .. ticket
if not redis.call('ZSCORE', members, self) then redis.call('ZADD', members, score or '0', self) end
keep(members, life_ms)
local answer = {'ok', ticket, now}
for _, member in ipairs(redis.call('ZRANGE', members, '-inf', '(0', 'BYSCORE')) do
  if member ~= self then answer[#answer + 1] = member end
end
return answer

#!lua
-- Gives a session a place among those of a subject.
-- The index is a set of "id ticket" sorted by place: the time of joining, or a little more so that each has its own; negative where the session
-- must leave.
-- KEYS: members, barrier.
-- ARGV: id, nonce, ticket that the session has already ('': none), arrived, limit (0: none), what to do at the limit ('look', 'refuse', 'evict'),
--   milliseconds for which the index must last, members to remove...
local members, id, kept = KEYS[1], ARGV[1], ARGV[3]
local barrier = redis.call('GET', KEYS[2])
local barred_at = barrier and (string.match(barrier, '^{"at":(%-?%d+)') or foreign(KEYS[2]))
for i = 8, #ARGV do redis.call('ZREM', members, ARGV[i]) end
if barrier and tonumber(barred_at) >= tonumber(ARGV[4]) then return {'barrier'} end
local t = redis.call('TIME')
local now = text_of(t[1] * 1000 + math.floor(t[2] / 1000))

local max = tonumber(ARGV[5])
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
    if ARGV[6] == 'look' then
      local answer = {'full', now}
      for _, member in ipairs(redis.call('ZRANGE', members, 0, -1)) do answer[#answer + 1] = member end
      return answer
    end
    if ARGV[6] == 'refuse' then return {'limit'} end
    local leaves = {}
    for i = 1, excess do leaves[others[i]] = true end
    local list = redis.call('ZRANGE', members, '0', '+inf', 'BYSCORE', 'WITHSCORES')
    for i = 1, #list, 2 do
      if leaves[string.sub(list[i], 1, 36)] then redis.call('ZADD', members, text_of(-tonumber(list[i + 1])), list[i]) end
    end
  end
end

local ticket, place = kept, string.match(kept, '^%d+')
if kept == '' then
  local last = redis.call('ZRANGE', members, -1, -1, 'WITHSCORES')
  ticket, place = now .. '-' .. ARGV[2], text_of(math.max(tonumber(now), tonumber(last[2] or 0) + 1))
end
local self = id .. ' ' .. ticket
if not redis.call('ZSCORE', members, self) then redis.call('ZADD', members, place or '0', self) end
keep(members, ARGV[7])
local answer = {'ok', ticket, now}
for _, member in ipairs(redis.call('ZRANGE', members, '-inf', '(0', 'BYSCORE')) do
  if member ~= self then answer[#answer + 1] = member end
end
return answer

#!lua
-- Usual updates: a live session of the expected revision keeps its subject and
-- its deadlines, and its activity does not go back. In every other case nothing
-- changes and the answer is 'unusual'; update.lua handles all cases.
-- Most updates are usual, and this script takes Redis half the time of the other:
-- it shares nothing with it, makes as few calls, numbers and texts as it can, and
-- handles several updates at a time.
--   KEYS: for each update session, seen and mark; then for each one changed
--   ARGV: for each update
--     expected     the record up to its last activity
--     next_head    the next record up to its ticket
--     last_seen    the new last activity
--     idle_since   a session with this last activity, or an earlier one, is idle too long
--     subject      the field of the subject and the name of the next field
--     rest         the record's text behind the ticket
-- Returns 'ok' or 'unusual' for each update.
local number = #KEYS / 4
local found = redis.call('MGET', unpack(KEYS, 1, 3 * number))

-- next_text returns the next record's text, if the i-th update is a usual one.
local function next_text(text, touch, marked, i)
  local expected, next_head, last_seen, idle_since, created, subject, rest, life_ms = unpack(ARGV, 8 * i - 7, 8 * i)
  if not text or string.find(text, expected, 1, true) ~= 1 then return end
  local last, ticket = string.match(text, '^(%d+),"ticket":"([^"]*)"', #expected + 1)
  if not last then return end
  local from = string.find(text, ',"subject', 1, true) -- the first one: what follows it may hold any text
  if not from or string.find(text, subject, from, true) ~= from then return end
  last = tonumber(last)
  if touch then last = math.max(last, tonumber(string.match(touch, '^{"last_seen_at":(%-?%d+)')) or 0) end
  if last > tonumber(last_seen) or last <= tonumber(idle_since) then return end
  if marked and not (string.match(marked, '^%-?%d+$') and tonumber(marked) < tonumber(created)) then return end
  return next_head .. ticket .. rest, life_ms
end

local answer, messages, over, written = {}, {}, {}, {}
for i = 1, number do
  local session, touch = KEYS[3 * i - 2], found[3 * i - 1]
  -- Of two updates of the same revision of a session one is unusual.
  local text, life_ms
  if not written[session] then text, life_ms = next_text(found[3 * i - 2], touch, found[3 * i], i) end
  answer[i] = text and 'ok' or 'unusual'
  if text then
    written[session] = true
    redis.call('SET', session, text, 'PX', life_ms)
    if touch then redis.call('DEL', KEYS[3 * i - 1]) end
    local n = #over + 1
    over[n], messages[2 * n - 1], messages[2 * n] = KEYS[3 * number + i], KEYS[3 * number + i], ''
  end
end
if #over > 0 then
  redis.set_repl(redis.REPL_NONE)
  redis.call('MSET', unpack(messages))
  redis.call('DEL', unpack(over))
end
return answer

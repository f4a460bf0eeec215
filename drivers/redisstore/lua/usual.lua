#!lua
-- The usual update, which is most of them: a live session at the revision expected keeps its subject and its deadlines, but for
-- activity that is no older. In all other cases it changes nothing and says 'unusual': update.lua does all of them, these too. It
-- stands for itself and does with as few calls, numbers and texts as it can, which takes Redis half the time.
-- KEYS: session, seen, mark, changed.
-- ARGV: the record expected up to its last activity, the next one's up to the ticket, activity, before it the session is idle too long, created at,
--   field of the subject and the next one's name, what comes behind the ticket, its life.
local unusual = {'unusual'}
local found = redis.call('MGET', KEYS[1], KEYS[2], KEYS[3])
local text, seen, mark = found[1], found[2], found[3]
if not text or string.find(text, ARGV[1], 1, true) ~= 1 then return unusual end
local last, ticket = string.match(text, '^(%d+),"ticket":"([^"]*)"', #ARGV[1] + 1)
if not last then return unusual end
local subject = string.find(text, ',"subject', 1, true) -- the first one: what follows it may hold any text
if not subject or string.find(text, ARGV[6], subject, true) ~= subject then return unusual end
last = tonumber(last)
if seen then last = math.max(last, tonumber(string.match(seen, '^{"last_seen_at":(%-?%d+)')) or 0) end
if last > tonumber(ARGV[3]) or last <= tonumber(ARGV[4]) then return unusual end
if mark and not (string.match(mark, '^%-?%d+$') and tonumber(mark) < tonumber(ARGV[5])) then return unusual end
redis.call('SET', KEYS[1], ARGV[2] .. ticket .. ARGV[7], 'PX', ARGV[8])
if seen then redis.call('DEL', KEYS[2]) end
redis.set_repl(redis.REPL_NONE)
redis.call('SET', KEYS[4], '')
redis.call('DEL', KEYS[4])
return {'ok'}

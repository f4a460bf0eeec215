#!lua flags=allow-oom
-- Puts members that a subject's index has lost back into it, and extends the
-- life of the index to the latest absolute deadline of their sessions. The
-- arguments behind now are the members of sessions that were live a moment ago.
-- Returns 'ok', and a pair for each member that was missing: 'back' or 'barred',
-- and the member. 'barred' means that it joined before the last EndSubject,
-- which should have ended it.
--
-- A new master issues tickets by its own clock, which may be behind the clock of
-- its predecessor. Therefore a session that lost its member and joined up to
-- TOLERANCE after the EndSubject is barred too; its user signs in once more.
local TOLERANCE = 10000
local members, barrier = unpack(KEYS)
local latest, now = unpack(ARGV, 1, 2)
local answer = {'ok'}
local raised, spared, before
local text = redis.call('GET', barrier)
if text then
  raised, spared, before = string.match(text, '"raised":(%d+),"spared":"([^"]*)","before":(%d+)}$')
  if not raised then foreign(barrier) end
end
for i = 3, #ARGV do
  local member = ARGV[i]
  if not redis.call('ZSCORE', members, member) then
    local id, joined = string.match(member, '^(%S+) (%d+)')
    local what = 'back'
    if raised and tonumber(joined or 0) <= tonumber(id == spared and before or raised) + TOLERANCE then
      what = 'barred'
    else
      redis.call('ZADD', members, joined or '0', member)
    end
    answer[#answer + 1], answer[#answer + 2] = what, member
  end
end
if redis.call('EXISTS', members) == 1 then keep(members, life(tonumber(latest), tonumber(now))) end
return answer

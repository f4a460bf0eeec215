#!lua flags=allow-oom
-- Sees to it that sessions which were live a moment ago are in their subject's index, and that it lasts for as long as they may.
-- KEYS: members, barrier. ARGV: the latest absolute deadline, now, members...
-- Returns 'ok', and each member that was missing, behind what became of it: 'back', or 'barred' if it joined before the subject's
-- sessions were ended last, and so should have been among these.
-- A shard's new master issues tickets by its own clock, which may be behind its predecessor's: a session that joined up to TOLERANCE after
-- the end is taken for one of before, and its user signs in once more. This is only of sessions whose member was lost.
local TOLERANCE = 10000
local answer = {'ok'}
local raised, spared, before
local barrier = redis.call('GET', KEYS[2])
if barrier then
  raised, spared, before = string.match(barrier, '"raised":(%d+),"spared":"([^"]*)","before":(%d+)}$')
  if not raised then foreign(KEYS[2]) end
end
for i = 3, #ARGV do
  if not redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    local id, joined = string.match(ARGV[i], '^(%S+) (%d+)')
    local what = 'back'
    if barrier and tonumber(joined or 0) <= tonumber(id == spared and before or raised) + TOLERANCE then
      what = 'barred'
    else
      redis.call('ZADD', KEYS[1], joined or '0', ARGV[i])
    end
    answer[#answer + 1], answer[#answer + 2] = what, ARGV[i]
  end
end
if redis.call('EXISTS', KEYS[1]) == 1 then keep(KEYS[1], life(tonumber(ARGV[1]), tonumber(ARGV[2]))) end
return answer

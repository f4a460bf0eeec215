#!lua flags=allow-oom
-- Raises a subject's barrier and returns the members that joined before.
-- spared is the session that stays, or ''.
--
-- The barrier refuses requests that arrived, by the callers' clocks, at or before
-- "at". The other fields are for mend.lua, which finds sessions that EndSubject
-- missed: "raised" is when, on Redis' clock, the barrier was last raised;
-- "spared" which session that spared; "before" when it was last raised without
-- sparing that session.
local members, barrier = unpack(KEYS)
local at, life_ms, spared = unpack(ARGV)
local before = '0'
local old = redis.call('GET', barrier)
if old then
  local old_at, raised, old_spared, earlier = string.match(old, '^{"at":(%-?%d+),"raised":(%d+),"spared":"([^"]*)","before":(%d+)}$')
  if not old_at then foreign(barrier) end
  if tonumber(old_at) > tonumber(at) then at = old_at end
  before = old_spared == spared and earlier or raised
end
redis.call('SET', barrier, '{"at":' .. at .. ',"raised":' .. text_of(clock()) .. ',"spared":"' .. spared ..
  '","before":' .. before .. '}', 'PX', text_of(tonumber(life_ms) + SLACK))
return redis.call('ZRANGE', members, 0, -1)

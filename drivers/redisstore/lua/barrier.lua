#!lua flags=allow-oom
-- Raises a subject's barrier, and returns the members that joined before. KEYS: members, barrier. ARGV: at, life, the session that is
-- spared ('': none).
-- The barrier says up to when, by the callers' clocks, requests must have arrived to meet it, and for a session that was lost from the
-- index meanwhile (see mend.lua), when on Redis' clock it was raised last, whom that spared, and when it was raised before that
-- without sparing the same one.
local t = redis.call('TIME')
local at, before = ARGV[1], '0'
local old = redis.call('GET', KEYS[2])
if old then
  local old_at, raised, spared, earlier = string.match(old, '^{"at":(%-?%d+),"raised":(%d+),"spared":"([^"]*)","before":(%d+)}$')
  if not old_at then foreign(KEYS[2]) end
  if tonumber(old_at) > tonumber(at) then at = old_at end
  before = spared == ARGV[3] and earlier or raised
end
redis.call('SET', KEYS[2], '{"at":' .. at .. ',"raised":' .. text_of(t[1] * 1000 + math.floor(t[2] / 1000)) .. ',"spared":"' .. ARGV[3] ..
  '","before":' .. before .. '}', 'PX', text_of(tonumber(ARGV[2]) + SLACK))
return redis.call('ZRANGE', KEYS[1], 0, -1)

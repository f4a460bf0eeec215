#!lua flags=allow-oom
-- Raises a subject's barrier, and returns the members that joined before. KEYS: members, barrier. ARGV: at, life.
local old = redis.call('GET', KEYS[2])
local at = ARGV[1]
if old and tonumber(old) > tonumber(at) then at = old end
redis.call('SET', KEYS[2], at, 'PX', text_of(tonumber(ARGV[2]) + SLACK))
return redis.call('ZRANGE', KEYS[1], 0, -1)

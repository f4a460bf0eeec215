#!lua flags=allow-oom
-- Raises the application's mark in a bucket. KEYS: mark, feed. ARGV: at.
local old = mark_at(KEYS[1])
if old and tonumber(old) >= tonumber(ARGV[1]) then
  redis.call('SET', KEYS[1], old) -- as again does
  return {'ok'}
end
redis.call('SET', KEYS[1], ARGV[1])
tell(KEYS[2])
return {'ok'}

#!lua flags=allow-oom
-- Raises an application's mark in a bucket: the time of EndAll.
local mark, gone_all = unpack(KEYS)
local at = unpack(ARGV)
local old = mark_at(mark)
if old and tonumber(old) >= tonumber(at) then
  redis.call('SET', mark, old) -- for the replicas, as again does
  return {'ok'}
end
redis.call('SET', mark, at)
tell(gone_all)
return {'ok'}

#!lua flags=allow-oom
-- Extends the life of a subject's index.
local members = KEYS[1]
local life_ms = unpack(ARGV)
if redis.call('EXISTS', members) == 1 then keep(members, life_ms) end
return {'ok'}

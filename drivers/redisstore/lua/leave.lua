#!lua flags=allow-oom
-- Removes members, its arguments, from a subject's index.
local members = KEYS[1]
for i = 1, #ARGV do redis.call('ZREM', members, ARGV[i]) end
return {'ok'}

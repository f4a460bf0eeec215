#!lua flags=allow-oom
-- Takes members out of a subject's index. KEYS: members. ARGV: members...
for i = 1, #ARGV do redis.call('ZREM', KEYS[1], ARGV[i]) end
return {'ok'}

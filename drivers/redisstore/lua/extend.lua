#!lua flags=allow-oom
-- Has a subject's index last longer. KEYS: members. ARGV: milliseconds.
if redis.call('EXISTS', KEYS[1]) == 1 then keep(KEYS[1], ARGV[1]) end
return {'ok'}

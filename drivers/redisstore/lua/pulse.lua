#!lua flags=allow-oom
-- A heartbeat of the feed, like tell in common.lua; also when memory is full. KEYS: the key that is to come back.
redis.set_repl(redis.REPL_NONE)
redis.call('SET', KEYS[1], '')
redis.call('DEL', KEYS[1])
return {'ok'}

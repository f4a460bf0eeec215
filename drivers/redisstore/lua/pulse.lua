#!lua flags=allow-oom
-- Sends a heartbeat to the feeds, as tell in common.lua sends a change. It runs
-- when memory is full too.
redis.set_repl(redis.REPL_NONE)
redis.call('SET', KEYS[1], '')
redis.call('DEL', KEYS[1])
return {'ok'}

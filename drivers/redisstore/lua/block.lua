#!lua flags=allow-oom
-- Bars the creation of a session under a claim, unless the session exists.
local session, block = unpack(KEYS)
if redis.call('EXISTS', session) == 1 then return {'made'} end
redis.call('SET', block, 'again', 'PX', text_of(BLOCK_LIFE))
return {'blocked'}

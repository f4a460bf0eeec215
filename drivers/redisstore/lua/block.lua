#!lua flags=allow-oom
-- Bars the creation of a session under a nonce, unless it was created. KEYS: session, block.
if redis.call('EXISTS', KEYS[1]) == 1 then return {'made'} end
redis.call('SET', KEYS[2], 'again', 'PX', text_of(BLOCK_LIFE))
return {'blocked'}

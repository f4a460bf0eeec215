#!lua flags=allow-oom
-- Notes that the session of a claim was made, or gives the claim back. KEYS: claim. ARGV: nonce, 'done' or 'back'.
local text = redis.call('GET', KEYS[1])
if not text or not string.find(text, '"nonce":"' .. ARGV[1] .. '"', 1, true) then return {'ok'} end
if ARGV[2] == 'back' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], (string.gsub(text, '"done":false}$', '"done":true}')), 'KEEPTTL')
end
return {'ok'}

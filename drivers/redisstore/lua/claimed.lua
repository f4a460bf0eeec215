#!lua flags=allow-oom
-- Concludes a claim: what is 'done' if its session was made, or 'back' to give
-- the claim back. It does nothing if the claim is another's by now.
local claim = KEYS[1]
local nonce, what = unpack(ARGV)
local text = redis.call('GET', claim)
if not text or not string.find(text, '"nonce":"' .. nonce .. '"', 1, true) then return {'ok'} end
if what == 'back' then
  redis.call('DEL', claim)
else
  redis.call('SET', claim, (string.gsub(text, '"done":false}$', '"done":true}')), 'KEEPTTL')
end
return {'ok'}

#!lua flags=allow-oom
-- Claims an idempotency key; also when memory is full, for the answer to a repeat. The claim of a session that finds no room is given back.
-- KEYS: claim. ARGV: id, body, now, life, nonce, nonce of the claim that may be taken over ('': none).
-- Returns 'mine' and the time, or 'other': id, body, '1' if its session was made, nonce, age in milliseconds.
local t = redis.call('TIME')
local time = t[1] * 1000 + math.floor(t[2] / 1000)
local text = redis.call('GET', KEYS[1])
if text then
  local id, body, at, nonce, issued, done = string.match(text, '^{"session":"([^"]*)","body":"(%x*)","at":(%-?%d+),"nonce":"(%x*)","issued":(%d+),"done":(%l+)}$')
  if not id then return {'damaged'} end
  if nonce ~= ARGV[6] and tonumber(ARGV[3]) - tonumber(at) <= tonumber(ARGV[4]) then
    return {'other', id, body, done == 'true' and '1' or '', nonce, text_of(time - tonumber(issued))}
  end
end
redis.call('SET', KEYS[1], '{"session":"' .. ARGV[1] .. '","body":"' .. ARGV[2] .. '","at":' .. ARGV[3] .. ',"nonce":"' .. ARGV[5] ..
  '","issued":' .. text_of(time) .. ',"done":false}', 'PX', text_of(tonumber(ARGV[4]) + SLACK))
return {'mine', text_of(time)}

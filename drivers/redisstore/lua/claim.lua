#!lua flags=allow-oom
-- Claims an idempotency key. It runs when memory is full too, because a repeat
-- needs its answer; a session that finds no room gives the claim back.
-- replaced is the nonce of a claim that this one may replace, or ''.
-- Returns 'mine' and the time; or 'other', the session's ID, the hash of the
-- body, '1' if that session was made, the nonce, and the age in milliseconds.
local claim = KEYS[1]
local session, body, now, life_ms, nonce, replaced = unpack(ARGV)
local time = clock()
local text = redis.call('GET', claim)
if text then
  local id, other_body, at, other_nonce, issued, done = string.match(text,
    '^{"session":"([^"]*)","body":"(%x*)","at":(%-?%d+),"nonce":"(%x*)","issued":(%d+),"done":(%l+)}$')
  if not id then return {'damaged'} end
  if other_nonce ~= replaced and tonumber(now) - tonumber(at) <= tonumber(life_ms) then
    return {'other', id, other_body, done == 'true' and '1' or '', other_nonce, text_of(time - tonumber(issued))}
  end
end
redis.call('SET', claim, '{"session":"' .. session .. '","body":"' .. body .. '","at":' .. now .. ',"nonce":"' .. nonce ..
  '","issued":' .. text_of(time) .. ',"done":false}', 'PX', text_of(tonumber(life_ms) + SLACK))
return {'mine', text_of(time)}

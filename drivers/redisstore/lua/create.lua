#!lua
-- Adds a session.
-- KEYS: session, seen, mark, in or anon, the other of these, due, block, changed, gone.
-- ARGV: id, record, created at, arrived, now, deadline, absolute deadline, time of issue of the reservation or claim ('' for none), fence.
local id, text, now = ARGV[1], ARGV[2], tonumber(ARGV[5])
local s = look(KEYS[1], KEYS[2], KEYS[3])
if s.state ~= 'absent' then return {'exists'} end
if s.mark and (s.mark >= tonumber(ARGV[4]) or s.mark >= tonumber(ARGV[3])) then return {'barrier'} end
local evicted
if ARGV[8] ~= '' then
  local blocked = redis.call('GET', KEYS[7])
  evicted = blocked and string.match(blocked, '^evicted (%-?%d+)$')
  if blocked and not evicted then return {'again'} end
  local t = redis.call('TIME')
  if t[1] * 1000 + math.floor(t[2] / 1000) > tonumber(ARGV[8]) + tonumber(ARGV[9]) then return {'again'} end
end
if evicted then
  bury({session = KEYS[1], seen = KEYS[2], ['in'] = KEYS[4], anon = KEYS[5], due = KEYS[6], gone = KEYS[9]}, id, text, '"evicted"', tonumber(evicted))
  return {'evicted', evicted}
end
local till, index = tonumber(ARGV[6]), life(tonumber(ARGV[7]), now)
redis.call('ZADD', KEYS[6], ARGV[6], id)
redis.call('ZADD', KEYS[4], ARGV[3], id)
keep(KEYS[6], index)
keep(KEYS[4], index)
redis.call('SET', KEYS[1], text, 'PX', life(till, now))
tell(KEYS[8])
return {'ok'}

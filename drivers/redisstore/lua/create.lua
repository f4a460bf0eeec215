#!lua
-- Adds a session. issued is the time of its reservation or claim, '' if it has
-- neither; fence is how long that is valid.
local keys = session_keys()
local id, record, created, arrived, now, till, expires, issued, fence = unpack(ARGV)
local s = look(keys)
if s.state ~= 'absent' then return {'exists'} end
if s.mark and (s.mark >= tonumber(arrived) or s.mark >= tonumber(created)) then return {'barrier'} end
if issued ~= '' then
  local verdict, at = reservation(keys, issued, fence)
  if verdict == 'again' then return {'again'} end
  if verdict == 'evicted' then
    bury(keys, id, record, '"evicted"', tonumber(at))
    return {'evicted', at}
  end
end
local index = subject_of(record) == ANONYMOUS and keys.anon or keys.logged_in
local index_life = life(tonumber(expires), tonumber(now))
redis.call('ZADD', keys.due, till, id)
redis.call('ZADD', index, created, id)
keep(keys.due, index_life)
keep(index, index_life)
redis.call('SET', keys.session, record, 'PX', life(tonumber(till), tonumber(now)))
tell(keys.changed)
return {'ok'}

#!lua flags=no-writes
-- Lists a bucket's sessions from a time of creation on, in the order of creation
-- and ID. It reads both indexes in one step, because a session that logs in
-- meanwhile moves from one to the other.
--   created  '' from the beginning
--   after    the ID of the session of that time behind which the list begins
-- Returns pairs of an ID and a time: a list of the logged in ones and one of the
-- anonymous ones. Each may begin with sessions before that one. It has number
-- sessions exactly if others follow, and then the last one is behind that one.
local mark, logged_in, anon = unpack(KEYS)
local created, after, number = unpack(ARGV)
local revoked = mark_at(mark)
local from = revoked and '(' .. revoked or '-inf'
if created ~= '' and not (revoked and tonumber(revoked) >= tonumber(created)) then from = created end
created, number = tonumber(created), tonumber(number)

local function list(index)
  local offset = 0
  while true do
    local some = redis.call('ZRANGE', index, from, '+inf', 'BYSCORE', 'LIMIT', offset, number, 'WITHSCORES')
    local n = #some
    if n < 2 * number or not created or tonumber(some[n]) > created or some[n - 1] > after then return some end
    offset = offset + number
  end
end

return {list(logged_in), list(anon)}

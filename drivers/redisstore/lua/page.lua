#!lua flags=no-writes
-- Lists the IDs of a bucket's sessions in the order of creation: at most number,
-- from the beginning if created is '', else behind the session of that time and
-- ID. It reads both indexes in one step, because a session that logs in
-- meanwhile moves from one to the other.
-- Returns pairs of an ID and a time.
local mark, logged_in, anon = unpack(KEYS)
local created, after, number = unpack(ARGV)
local revoked = mark_at(mark)
local from = revoked and '(' .. revoked or '-inf'
if created ~= '' and not (revoked and tonumber(revoked) >= tonumber(created)) then from = created end
created, number = tonumber(created), tonumber(number)
local list = {}
for _, index in ipairs({logged_in, anon}) do
  local found, offset = 0, 0
  while found < number do
    local some = redis.call('ZRANGE', index, from, '+inf', 'BYSCORE', 'LIMIT', offset, number, 'WITHSCORES')
    for i = 1, #some, 2 do
      local id, score = some[i], tonumber(some[i + 1])
      if not created or score > created or (score == created and id > after) then
        found = found + 1
        list[#list + 1] = {score, id}
      end
    end
    if #some < 2 * number then break end
    offset = offset + number
  end
end
table.sort(list, function(a, b) return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2]) end)
local answer = {}
for i = 1, math.min(number, #list) do
  answer[2 * i - 1], answer[2 * i] = list[i][2], text_of(list[i][1])
end
return answer

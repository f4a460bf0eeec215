#!lua flags=no-writes
-- Lists the IDs of a bucket's sessions by creation: those after one, up to a number. Both indexes in one step: a session
-- that logs in meanwhile is in exactly one of them.
-- KEYS: mark, in, anon. ARGV: created at ('': from the beginning), id, number.
local mark = mark_at(KEYS[1])
local from = mark and '(' .. mark or '-inf'
if ARGV[1] ~= '' and not (mark and tonumber(mark) >= tonumber(ARGV[1])) then from = ARGV[1] end
local created, id, number = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local list = {}
for k = 2, 3 do
  local found, offset = 0, 0
  while found < number do
    local some = redis.call('ZRANGE', KEYS[k], from, '+inf', 'BYSCORE', 'LIMIT', offset, number, 'WITHSCORES')
    for i = 1, #some, 2 do
      local score = tonumber(some[i + 1])
      if not created or score > created or (score == created and some[i] > id) then
        found = found + 1
        list[#list + 1] = {score, some[i]}
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

#!lua flags=no-writes
-- Returns the time of a subject's barrier, or of an application's mark, or
-- nothing if there is none.
local key = unpack(KEYS)
local what = unpack(ARGV)
if what == 'mark' then return {mark_at(key) or nil} end
local text = redis.call('GET', key)
return {text and (string.match(text, '^{"at":(%-?%d+)') or foreign(key)) or nil}

-- Reads what is to be folded, in one step: the oldest turns up to the one that is
-- named, and of them no more than one summary takes, but one at least. An id is
-- in the clear before its sealed turn: "<version> <id> <sealed>".
-- KEYS: session summary box    ARGV: upto turns bytes
local upto, most, room = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local step, len = 16, redis.call('LLEN', KEYS[1])
local taken, size, found, full = {}, 0, 0, false
for from = 0, len - 1, step do
  for i, entry in ipairs(redis.call('LRANGE', KEYS[1], from, from + step - 1)) do
    if not full then
      size = size + #entry
      full = #taken == most or (size > room and #taken > 0)
      if not full then taken[#taken + 1] = entry end
    end
    if string.match(entry, '^%d+ (%S+) ') == upto then found = from + i; break end
  end
  if found > 0 then break end
end
if found == 0 then return {0, {}, '', '0'} end
-- A value of a foreign type is as good as no summary.
local summary = redis.pcall('GET', KEYS[2])
return {found, taken, type(summary) == 'string' and summary or '', redis.call('HGET', KEYS[3], 'epoch') or '0'}

-- Reads a session in one bounded step: the newest turns, as far as they fit into
-- room bytes, but one at least. A value of a foreign type is as good as none. A
-- session that does not exist costs the same.
-- KEYS: about session summary    ARGV: turns room
local function text(key)
  local v = redis.pcall('GET', key)
  if type(v) == 'string' then return v end
  return ''
end
local have = redis.pcall('LLEN', KEYS[2])
if type(have) ~= 'number' then have = 0 end
local most, room, size, found = tonumber(ARGV[1]), tonumber(ARGV[2]), 0, {}
while #found < have and #found < most do
  local entry = redis.call('LINDEX', KEYS[2], -#found - 1)
  size = size + #entry
  if size > room and #found > 0 then break end
  found[#found + 1] = entry
end
return {text(KEYS[1]), have, redis.call('PTTL', KEYS[2]), text(KEYS[3]), found}

-- The platform said that nothing more may come for a while.
-- KEYS[1] what is counted. ARGV: microseconds.
local t = redis.call('TIME')
local now = (tonumber(t[1]) - 1704067200) * 1000000 + tonumber(t[2]) -- since 2024
local stored = redis.pcall('GET', KEYS[1])
local free = type(stored) == 'string' and tonumber(string.match(stored, '^%d+')) or now
local want = now + tonumber(ARGV[1])
if free < want then
  redis.call('SET', KEYS[1], string.format('%.0f', want), 'PX', string.format('%.0f', math.ceil((want - now) / 1000)))
end
return 1

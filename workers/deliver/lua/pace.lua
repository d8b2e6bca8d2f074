-- Calls of one kind go out one interval apart, whichever process makes them. A
-- call whose turn comes soon enough gets it; for any other nothing is kept free.
-- Only the clock of Redis counts.
-- KEYS[1] what is counted. ARGV: microseconds between calls, longest wait, and
-- how far ahead a turn can be at all.
-- Gives {1 with a turn, microseconds until it}.
local t = redis.call('TIME')
local now = (tonumber(t[1]) - 1704067200) * 1000000 + tonumber(t[2]) -- since 2024
local stored = redis.pcall('GET', KEYS[1])
local free = type(stored) == 'string' and tonumber(stored) or now
-- What lies further ahead was written by a clock that was set back since.
if not (free > now) or free > now + tonumber(ARGV[3]) then free = now end
local wait = free - now
if wait > tonumber(ARGV[2]) then return {0, wait} end
local next = free + tonumber(ARGV[1])
redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', string.format('%.0f', math.ceil((next - now) / 1000)))
return {1, wait}

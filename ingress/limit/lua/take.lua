-- Generic cell rate: one number says everything of a caller, the time at which
-- its bucket is full again. Only the clock of Redis counts.
-- KEYS[1] the caller. ARGV: microseconds for one request, burst, how many to
-- take at most, how many to wait for when none is left.
-- Gives {taken, microseconds until full, microseconds until worth asking again}.
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local most, block = tonumber(ARGV[3]), tonumber(ARGV[4])
local slack = 0.1 -- of a microsecond: more than doubles lose at this size, less than an interval

-- Seconds since 2024: the smaller the number, the finer the fraction that fits.
local t = redis.call('TIME')
local now = (tonumber(t[1]) - 1704067200) * 1000000 + tonumber(t[2])
local capacity = interval * burst

-- What is no number, or no value at all, is a full bucket; SET replaces it. More
-- debt than fits (a clock that was set back, a larger burst before) is cut.
local stored = redis.pcall('GET', KEYS[1])
local full = type(stored) == 'string' and tonumber(stored) or now
if not (full > now) then full = now end
if full > now + capacity then full = now + capacity end

local function left() return math.floor((now + capacity - full + slack) / interval) end

local taken = math.min(left(), most)
if taken > 0 then
  full = full + taken * interval
  redis.call('SET', KEYS[1], string.format('%.6f', full), 'PX', string.format('%.0f', math.ceil((full - now) / 1000)))
end
local again = 0
if left() < 1 then again = full + block * interval - capacity - now end
return {taken, math.ceil(full - now), math.ceil(again)}

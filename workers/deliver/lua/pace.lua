-- Calls of one kind go out one interval apart, whichever process makes them. A
-- call whose turn comes soon enough gets it. Any other is told to come again, each
-- an interval behind the one before: so they come one by one and not all at once,
-- and nothing is kept free for one that does not come. Only the clock of Redis counts.
-- KEYS[1] what is counted. ARGV: microseconds between calls, longest wait, how far
-- ahead a turn can be at all, and how far ahead others are told to come again.
-- Gives {1 with a turn, microseconds until it or until it is worth asking again}.
local t = redis.call('TIME')
local now = (tonumber(t[1]) - 1704067200) * 1000000 + tonumber(t[2]) -- since 2024
local every, soon, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local stored = redis.pcall('GET', KEYS[1])
local free, queue = now, now -- the next turn, and where the queue of those told to come again ends
if type(stored) == 'string' then
  local f, q = string.match(stored, '^(%d+) ?(%d*)$')
  free, queue = tonumber(f) or now, tonumber(q) or now
end
-- What lies further ahead was written by a clock that was set back since.
if not (free > now) or free > now + most then free = now end
local wait, with = free - now, 1
if wait > soon then
  with = 0
  -- The queue begins behind what is taken already, and never reaches too far: who
  -- does not come back must not hold up the others.
  local at = math.max(queue, free - soon / 2)
  if at > free + tonumber(ARGV[4]) then at = free end
  wait = math.floor(at - now)
  queue = at + every
else
  free = free + every
end
local ends = math.max(free, queue)
redis.call('SET', KEYS[1], string.format('%.0f %.0f', free, queue), 'PX', string.format('%.0f', math.max(1, math.ceil((ends - now) / 1000))))
return {with, wait}

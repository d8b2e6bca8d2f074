-- A summary takes the place of the oldest turns, if both are still what was read:
-- turns are only ever appended and cut off at the old end, so the first and the
-- last of them tell. Safe to repeat.
-- KEYS: session summary box    ARGV: epoch old new n first last ttlMS
local session, summary, box, n = KEYS[1], KEYS[2], KEYS[3], tonumber(ARGV[4])
if (redis.call('HGET', box, 'epoch') or '0') ~= ARGV[1] then return 'none' end
local now = redis.pcall('GET', summary)
if type(now) ~= 'string' then now = '' end -- none, or of a foreign type
if now == ARGV[3] then return 'folded' end
if now ~= ARGV[2] or redis.call('LINDEX', session, 0) ~= ARGV[5] or redis.call('LINDEX', session, n - 1) ~= ARGV[6] then
  return 'changed'
end
-- Both end together: writing a summary is nothing that the user said.
local left = redis.call('PTTL', session)
if left <= 0 then left = ARGV[7] end
redis.call('SET', summary, ARGV[3], 'PX', left)
redis.call('LTRIM', session, n, -1)
-- What workers remember is no longer so. A message that runs right now has begun
-- with it: the mark, which its commit takes away, keeps it from being remembered.
if redis.call('EXISTS', box) == 1 then redis.call('HSET', box, 'version', 'folded') end
return 'folded'

-- Nobody can read the answer of a message any more. Where nobody runs it, it is
-- finished here and now with a result that says so, and never begun. The fence
-- would have the last word over a run that we cannot see: its commit finds the
-- done marker of somebody else.
-- KEYS: lease box done result    ARGV: id result doneMS resultMS
local lease, box, done, id = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
if redis.call('EXISTS', done) == 1 then return 'finished' end
local holder = redis.call('GET', lease)
if holder then
  -- The holder has counted an attempt of what it runs; anything else waits behind
  -- that, or for the end of a back-off, in which the holder is 'hold'.
  local t = redis.call('HGET', box, 't:' .. id)
  if t and string.match(t, '^%d+:(.*)$') == holder then return 'busy' end
end
redis.call('SET', KEYS[4], ARGV[2], 'PX', ARGV[4])
redis.call('SET', done, 'abandoned', 'PX', ARGV[3])
redis.call('HDEL', box, 't:' .. id, 'f:' .. id)
return 'abandoned'

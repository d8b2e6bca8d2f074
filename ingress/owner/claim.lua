-- The lease is the caller's afterwards, or it is somebody else's and stays so.
-- KEYS: lease. ARGV: token, ms to live. Gives 1: it is the caller's.
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1

-- The holder is alive. 1: the lease is ours. 0: somebody else took it. 2: the
-- box is gone (Redis was emptied): work on, commit will find out. With it goes
-- what the user stopped, in case the word of it got lost.
-- KEYS: lease box    ARGV: token leaseMS created
local b = redis.call('HMGET', KEYS[2], 'holder', 'stop', 'created')
local stop = b[3] == ARGV[3] and tonumber(b[2] or 0) or 0
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return {1, stop}
end
if holder then return {0, stop} end
if b[1] == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return {1, stop}
end
return {b[1] and 0 or 2, stop}

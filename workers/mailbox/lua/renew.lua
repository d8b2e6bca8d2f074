-- The holder is alive. 1: the lease is ours. 0: somebody else took it. 2: the
-- box is gone (Redis was emptied): work on, commit will find out.
-- KEYS: lease box    ARGV: token leaseMS
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 1
end
if holder then return 0 end
local by = redis.call('HGET', KEYS[2], 'holder')
if by == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1
end
return by and 0 or 2

-- Writes how far the pass is, and keeps or, at its end, gives up its lease. 0:
-- the lease is somebody else's by now.
-- KEYS: lease state    ARGV: token leaseMS record stateMS last
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
if ARGV[5] == '1' then redis.call('DEL', KEYS[1]) else redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1

-- Keeps an answer, unless there is none to keep, and ends the lease, if it is
-- still ours. An answer whose lease has run out is as good as any.
-- KEYS: cache flight    ARGV: token answer ttlMS
if ARGV[2] ~= '' then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
return 1

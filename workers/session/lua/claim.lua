-- The first acceptance of an Idempotency-Key fixes the message's time and body.
-- KEYS: idem    ARGV: record ttlMS
local known = redis.call('GET', KEYS[1])
if known then return {0, known} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1, ARGV[1]}

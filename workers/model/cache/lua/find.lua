-- Looks an answer up, or gives its lease to whoever is to make it: 'found' with
-- the answer and what is left of its life, 'ours', or 'taken' by another process.
-- KEYS: cache flight    ARGV: token leaseMS
local kept = redis.call('GET', KEYS[1])
if kept then return { 'found', kept, redis.call('PTTL', KEYS[1]) } end
local holder = redis.call('GET', KEYS[2])
if holder and holder ~= ARGV[1] then return { 'taken' } end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
return { 'ours' }

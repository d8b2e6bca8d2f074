-- Gives a model, or all of them (an empty name), another word.
-- KEYS: purge    ARGV: model word ttlMS
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return redis.call('PEXPIRE', KEYS[1], ARGV[3])

-- Forgets what was said. The epoch tells a message that is running right now
-- not to write its turn into the new session.
-- KEYS: session summary box    ARGV: boxMS
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HINCRBY', KEYS[3], 'epoch', 1)
redis.call('HDEL', KEYS[3], 'version', 'turns', 'bytes', 'born')
redis.call('PEXPIRE', KEYS[3], ARGV[1])
return 1

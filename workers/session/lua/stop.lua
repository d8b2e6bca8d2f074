-- The user stops what came before a message of the conversation. What runs finds
-- it when it renews its lease or commits, what waits when its turn comes. A
-- back-off ends, so that what waits for it is looked at now. Sequences of another
-- life of the stream say nothing about this one.
-- KEYS: lease box    ARGV: life upto boxMS
local b = redis.call('HMGET', KEYS[2], 'created', 'stop')
if b[1] and b[1] ~= ARGV[1] then return 'other' end
if not b[1] then redis.call('HSET', KEYS[2], 'created', ARGV[1], 'last', '0', 'kept', '0') end
if not b[1] or tonumber(ARGV[2]) > tonumber(b[2] or 0) then redis.call('HSET', KEYS[2], 'stop', ARGV[2]) end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
local holder = redis.call('GET', KEYS[1])
if holder == 'hold' then
  redis.call('DEL', KEYS[1])
  holder = false
end
return holder and 'busy' or 'free'

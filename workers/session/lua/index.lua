-- Puts a conversation into its caller's list, and the oldest out where there are
-- too many. What is of a foreign type is none of ours and goes.
-- KEYS: sessions    ARGV: conversation ms most ttlMS
local key, most = KEYS[1], tonumber(ARGV[3])
local r = redis.pcall('ZADD', key, ARGV[2], ARGV[1])
if type(r) == 'table' and r.err then
  redis.call('DEL', key)
  redis.call('ZADD', key, ARGV[2], ARGV[1])
end
local n = redis.call('ZCARD', key)
if n > most then redis.call('ZREMRANGEBYRANK', key, 0, n - most - 1) end
redis.call('PEXPIRE', key, ARGV[4])
return 1

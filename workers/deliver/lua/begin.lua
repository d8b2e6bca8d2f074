-- A part is about to be sent. What was found as begun keeps the time of its first
-- try: the platform counts from that one.
-- KEYS: delivery box    ARGV: run part ttlMS
local fence = redis.call('HGET', KEYS[2], 'fence')
if fence and fence ~= ARGV[1] then return {'fenced'} end
local t = redis.call('TIME')
local first = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
local was = redis.call('HGET', KEYS[1], 'p' .. ARGV[2])
if was then first = string.match(was, '^sending (%d+)') or first end
redis.call('HSET', KEYS[1], 'p' .. ARGV[2], 'sending ' .. first)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return {'ok', tonumber(first)}

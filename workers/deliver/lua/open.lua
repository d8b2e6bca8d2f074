-- A run takes the record of its answer, unless another run has the conversation.
-- The record of another answer to the same message (a replayed message was run
-- again) says nothing of this one. Of a replayed answer what was sent stays sent,
-- and everything else is to be sent.
-- KEYS: delivery box    ARGV: run id made ttlMS
local fence = redis.call('HGET', KEYS[2], 'fence')
if fence and fence ~= ARGV[1] then return {'fenced'} end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local d = redis.call('HMGET', KEYS[1], 'id', 'made', 'since')
if d[2] and d[2] ~= ARGV[3] then
  redis.call('DEL', KEYS[1])
  d = {false, false, false}
end
local parts, all = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if string.match(all[i], '^p%d+$') then
    if d[1] == ARGV[2] or string.match(all[i + 1], '^sent ') then
      parts[#parts + 1] = all[i]
      parts[#parts + 1] = all[i + 1]
    else
      redis.call('HDEL', KEYS[1], all[i])
    end
  end
end
local since = tonumber(d[3])
if d[1] ~= ARGV[2] or not since then
  since = now
  redis.call('HSET', KEYS[1], 'id', ARGV[2], 'made', ARGV[3], 'since', string.format('%.0f', now), 'status', 'pending')
end
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return {'ok', now, since, parts}

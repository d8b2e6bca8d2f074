-- The head of the conversation failed and is tried again after a back-off. The
-- lease stays, held by nobody, so that what comes behind waits in order.
-- KEYS: lease box    ARGV: token id backoffMS refund failures
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], 'hold', 'PX', ARGV[3])
redis.call('HSET', KEYS[2], 'holder', '') -- so that a renewal under way does not take it back
if ARGV[5] ~= '' then redis.call('HSET', KEYS[2], 'f:' .. ARGV[2], ARGV[5]) end
local v = redis.call('HGET', KEYS[2], 't:' .. ARGV[2])
if ARGV[4] == '1' and v then
  local n, t = string.match(v, '^(%d+):(.*)$')
  if t == ARGV[1] then
    if tonumber(n) <= 1 then redis.call('HDEL', KEYS[2], 't:' .. ARGV[2])
    else redis.call('HSET', KEYS[2], 't:' .. ARGV[2], (tonumber(n) - 1) .. ':') end
  end
end
return 1

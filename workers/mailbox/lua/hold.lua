-- The head of the conversation failed and is tried again after a back-off. The
-- lease stays, held by nobody, so that what comes behind waits in order.
-- KEYS: lease box    ARGV: token id backoffMS refund failures
local token, id = ARGV[1], ARGV[2]
local lease = redis.call('GET', KEYS[1])
local b = redis.call('HMGET', KEYS[2], 'holder', 't:' .. id)
if b[1] ~= token or (lease and lease ~= token) then return 0 end
redis.call('SET', KEYS[1], 'hold', 'PX', ARGV[3])
redis.call('HSET', KEYS[2], 'holder', '') -- so that a renewal under way does not take it back
if ARGV[5] ~= '' then redis.call('HSET', KEYS[2], 'f:' .. id, ARGV[5]) end
if ARGV[4] == '1' and b[2] then
  local n, t = string.match(b[2], '^(%d+):(.*)$')
  if t == token then
    if tonumber(n) <= 1 then redis.call('HDEL', KEYS[2], 't:' .. id)
    else redis.call('HSET', KEYS[2], 't:' .. id, (tonumber(n) - 1) .. ':') end
  end
end
return 1

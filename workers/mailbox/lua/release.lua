-- The holder gives the conversation up, unless a later message asked for it in
-- the meantime. reached, when not 0, is the last sequence found finished.
-- KEYS: lease box    ARGV: token reached upto refund
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {'lost', 0} end
local b = redis.call('HMGET', KEYS[2], 'last', 'want', 't:' .. ARGV[4])
if ARGV[2] ~= '0' and tonumber(ARGV[2]) > tonumber(b[1] or 0) then
  redis.call('HSET', KEYS[2], 'last', ARGV[2])
end
if ARGV[4] ~= '' and b[3] then
  local n, t = string.match(b[3], '^(%d+):(.*)$')
  if t == ARGV[1] then
    if tonumber(n) <= 1 then redis.call('HDEL', KEYS[2], 't:' .. ARGV[4])
    else redis.call('HSET', KEYS[2], 't:' .. ARGV[4], (tonumber(n) - 1) .. ':') end
  end
end
local want = tonumber(b[2] or 0)
if want > tonumber(ARGV[3]) then return {'more', want} end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[2], 'holder', '') -- so that a renewal under way does not take it back
return {'released', want}

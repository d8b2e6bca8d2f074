-- The holder gives the conversation up, unless a later message asked for it in
-- the meantime. reached, when not 0, is the last sequence found finished.
-- KEYS: lease box    ARGV: token reached upto refund created
local token, upto = ARGV[1], tonumber(ARGV[3])
local lease = redis.call('GET', KEYS[1])
local b = redis.call('HMGET', KEYS[2], 'holder', 'last', 'want', 't:' .. ARGV[4], 'created')
-- A lease that ran out is still ours to give up as long as nobody took it.
if b[1] ~= token or (lease and lease ~= token) then return {'lost', 0} end
if b[5] == ARGV[5] and tonumber(ARGV[2]) > tonumber(b[2] or 0) then
  redis.call('HSET', KEYS[2], 'last', ARGV[2])
end
if ARGV[4] ~= '' and b[4] then
  local n, t = string.match(b[4], '^(%d+):(.*)$')
  if t == token then
    if tonumber(n) <= 1 then redis.call('HDEL', KEYS[2], 't:' .. ARGV[4])
    else redis.call('HSET', KEYS[2], 't:' .. ARGV[4], (tonumber(n) - 1) .. ':') end
  end
end
local want = tonumber(b[3] or 0)
if want > upto then return {'more', want} end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[2], 'holder', '') -- so that a renewal under way does not take it back
return {'released', want}

-- The holder finishes a message: turn, result, done marker and outbox entry in
-- one step, and the lease given up when nothing else waits. Safe to repeat: the
-- done marker holds the token that set it. The fence decides, not the lease: a
-- lease that ran out unnoticed by others does no harm.
-- KEYS: lease box context out done result
-- ARGV: token fence seq id epoch stopped turn result out keepTurns contextMS boxMS doneMS resultMS floor created
local lease, box, context, out, done, result = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local token, seq, id = ARGV[1], tonumber(ARGV[3]), ARGV[4]
local b = redis.call('HMGET', box, 'fence', 'holder', 'last', 'epoch', 'stop', 'want', 'kept', 'created')

local by = redis.call('GET', done)
if by and by ~= token then return {'finished'} end
if not by then
  if not b[1] then return {'lost'} end
  if b[1] ~= ARGV[2] or b[2] ~= token then return {'fenced'} end
  if seq <= tonumber(b[5] or 0) and ARGV[6] ~= '1' then return {'stopped'} end
  -- An older epoch means that the session was reset while this message ran.
  if ARGV[7] ~= '' and (b[4] or '0') == ARGV[5] then
    redis.call('RPUSH', context, ARGV[7])
    redis.call('LTRIM', context, -tonumber(ARGV[10]), -1)
    redis.call('PEXPIRE', context, ARGV[11])
  end
  redis.call('SET', result, ARGV[8], 'PX', ARGV[14])
  redis.call('SET', done, token, 'PX', ARGV[13])
  -- kept counts finished messages of this conversation that still lie in the stream.
  local kept = tonumber(b[7] or 0)
  if tonumber(ARGV[15]) > tonumber(b[3] or 0) then kept = 0 end
  redis.call('HSET', box, 'kept', kept + 1)
  -- A sequence of a stream that was recreated since says nothing about the new one.
  if b[8] == ARGV[16] then redis.call('HSET', box, 'last', ARGV[3]) end
  redis.call('HDEL', box, 't:' .. id, 'f:' .. id)
  redis.call('PEXPIRE', box, ARGV[12])
  if ARGV[9] ~= '' then
    redis.call('RPUSH', out, ARGV[9])
    redis.call('PEXPIRE', out, ARGV[12])
  end
  b[7] = kept + 1
end
local want = tonumber(b[6] or 0)
if want > seq or redis.call('LLEN', out) > 0 then return {'more', tonumber(b[7] or 0), want} end
if redis.call('GET', lease) == token then redis.call('DEL', lease) end
if b[2] == token then redis.call('HSET', box, 'holder', '') end -- so that a renewal under way does not take it back
return {'released', tonumber(b[7] or 0), want}

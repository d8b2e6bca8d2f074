-- The holder finishes a message: turn, result, done marker and outbox entry in
-- one step, and the lease given up when nothing else waits. Safe to repeat: the
-- done marker holds the token that set it. The fence decides, not the lease: a
-- lease that ran out unnoticed by others does no harm. The box itself lives on
-- from begin; what is written of it is written at once.
-- KEYS: lease box context out done result summary
-- ARGV: token fence seq id epoch stopped turn result out keepTurns contextMS outMS doneMS resultMS floor created
--   reset note
local lease, box, context, out, done, result = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local token, seq, id = ARGV[1], tonumber(ARGV[3]), ARGV[4]
local b = redis.call('HMGET', box, 'fence', 'holder', 'last', 'epoch', 'stop', 'want', 'kept', 'created', 'version',
  't:' .. id, 'f:' .. id)
local set, kept, entries = {}, tonumber(b[7] or 0), 0
-- The version names the context as this commit leaves it. A counter would not
-- do: after a loss of data it would name other turns by the same number.
local version = token .. '/' .. ARGV[3]

local by = redis.call('GET', done)
if by and by ~= token then return {'finished'} end
if by then
  if b[9] ~= version then version = '' else entries = redis.call('LLEN', context) end
else
  if not b[1] then return {'lost'} end
  if b[1] ~= ARGV[2] or b[2] ~= token then return {'fenced'} end
  if seq <= tonumber(b[5] or 0) and ARGV[6] ~= '1' then return {'stopped'} end
  if ARGV[17] == '1' then
    redis.call('DEL', context, KEYS[7])
    redis.call('HINCRBY', box, 'epoch', 1)
    redis.call('HDEL', box, 'version')
    version = ''
  -- An older epoch means that the session was reset while this message ran.
  elseif ARGV[7] ~= '' and (b[4] or '0') == ARGV[5] then
    entries = redis.call('RPUSH', context, ARGV[7])
    if entries > tonumber(ARGV[10]) then
      redis.call('LTRIM', context, -tonumber(ARGV[10]), -1)
    end
    redis.call('PEXPIRE', context, ARGV[11])
    redis.call('PEXPIRE', KEYS[7], ARGV[11]) -- the summary of what left the context lives as long
    if b[9] == 'folded' then
      -- Turns became a summary since this message began, perhaps: the next one reads anew.
      redis.call('HDEL', box, 'version')
      version = ''
    else
      set = {'version', version}
    end
  else
    version = ''
  end
  redis.call('SET', result, ARGV[8], 'PX', ARGV[14])
  redis.call('SET', done, token, 'PX', ARGV[13])
  -- kept counts finished messages of this conversation that still lie in the stream.
  if tonumber(ARGV[15]) > tonumber(b[3] or 0) then kept = 0 end
  kept = kept + 1
  set[#set + 1] = 'kept'; set[#set + 1] = kept
  -- A sequence of a stream that was recreated since says nothing about the new one.
  if b[8] == ARGV[16] then set[#set + 1] = 'last'; set[#set + 1] = ARGV[3] end
  if ARGV[18] ~= '' then set[#set + 1] = 'note'; set[#set + 1] = string.sub(ARGV[18], 2) end
  if b[10] or b[11] then redis.call('HDEL', box, 't:' .. id, 'f:' .. id) end
  if ARGV[9] ~= '' then
    redis.call('RPUSH', out, ARGV[9])
    redis.call('PEXPIRE', out, ARGV[12])
  end
end
local want = tonumber(b[6] or 0)
local answer = 'released'
if want > seq or redis.call('LLEN', out) > 0 then
  answer = 'more'
else
  if redis.call('GET', lease) == token then redis.call('DEL', lease) end
  if b[2] == token then set[#set + 1] = 'holder'; set[#set + 1] = '' end -- so that a renewal under way does not take it back
end
if #set > 0 then redis.call('HSET', box, unpack(set)) end
return {answer, kept, want, version, entries}

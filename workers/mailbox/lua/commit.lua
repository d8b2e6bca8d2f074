-- The holder finishes a message: turn, result, done marker and outbox entry in
-- one step, and the lease given up when nothing else waits. Safe to repeat: the
-- done marker holds the token that set it. The fence decides, not the lease: a
-- lease that ran out unnoticed by others does no harm. The box itself lives on
-- from begin; what is written of it is written at once.
-- KEYS: lease box context out done result summary
-- ARGV: token fence seq id epoch stopped turn result out keepTurns contextMS outMS doneMS resultMS floor created
--   reset note keepBytes now ageMS trail
local lease, box, context, out, done, result = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local token, seq, id = ARGV[1], tonumber(ARGV[3]), ARGV[4]
local b = redis.call('HMGET', box, 'fence', 'holder', 'last', 'epoch', 'stop', 'want', 'kept', 'created', 'version',
  't:' .. id, 'f:' .. id, 'turns', 'bytes', 'born', 'ring')
local set, kept, entries = {}, tonumber(b[7] or 0), 0
-- What may find a value of a foreign type stands before the first write, so that
-- a commit that failed for one may be repeated whole.
local by, holder, waiting = redis.call('GET', done), redis.call('GET', lease), redis.call('LLEN', out)
-- The version names the context as this commit leaves it. A counter would not
-- do: after a loss of data it would name other turns by the same number.
local version = token .. '/' .. ARGV[3]

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
    redis.call('HDEL', box, 'version', 'turns', 'bytes', 'born')
    version = ''
  -- An older epoch means that the session was reset while this message ran.
  elseif ARGV[7] ~= '' and (b[4] or '0') == ARGV[5] then
    entries = redis.call('RPUSH', context, ARGV[7])
    local keep, room, bytes = tonumber(ARGV[10]), tonumber(ARGV[19]), #ARGV[7]
    if entries > 1 and tonumber(b[12] or 0) ~= entries - 1 then
      -- Somebody else has changed the list: what is kept is counted anew, once.
      if entries > keep then redis.call('LTRIM', context, -keep, -1); entries = keep end
      local fit = 1
      while fit < entries do
        local size = #redis.call('LINDEX', context, -fit - 1)
        if bytes + size > room then break end
        fit, bytes = fit + 1, bytes + size
      end
      if fit < entries then redis.call('LTRIM', context, -fit, -1); entries = fit end
    elseif entries > 1 then
      bytes = bytes + tonumber(b[13] or 0)
      while entries > keep or (bytes > room and entries > 1) do
        bytes, entries = bytes - #redis.call('LPOP', context), entries - 1
      end
    end
    -- What all became a summary is no new session.
    local ttl, young = ARGV[11], not b[14] or (entries == 1 and redis.call('EXISTS', KEYS[7]) == 0)
    if not young and ARGV[21] ~= '0' then ttl = math.max(1, math.min(ttl, b[14] + ARGV[21] - ARGV[20])) end
    redis.call('PEXPIRE', context, ttl)
    redis.call('PEXPIRE', KEYS[7], ttl) -- the summary of what left the context lives as long
    if b[9] == 'folded' then
      -- Turns became a summary since this message began, perhaps: the next one reads anew.
      redis.call('HDEL', box, 'version')
      version = ''
    else
      set = {'version', version}
    end
    set[#set + 1] = 'turns'; set[#set + 1] = entries
    set[#set + 1] = 'bytes'; set[#set + 1] = bytes
    if young then set[#set + 1] = 'born'; set[#set + 1] = ARGV[20] end
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
  -- What was erased meanwhile does not come back by a note, either.
  if ARGV[18] ~= '' and (b[4] or '0') == ARGV[5] then set[#set + 1] = 'note'; set[#set + 1] = string.sub(ARGV[18], 2) end
  -- The ring names the newest results for whoever erases the conversation.
  local slot = (tonumber(b[15] or 0) + 1) % 64
  set[#set + 1] = 'ring'; set[#set + 1] = slot
  set[#set + 1] = 'r' .. slot; set[#set + 1] = ARGV[22]
  if b[10] or b[11] then redis.call('HDEL', box, 't:' .. id, 'f:' .. id) end
  if ARGV[9] ~= '' then
    waiting = redis.call('RPUSH', out, ARGV[9])
    redis.call('PEXPIRE', out, ARGV[12])
  end
end
local want = tonumber(b[6] or 0)
local answer = 'released'
if want > seq or waiting > 0 then
  answer = 'more'
else
  if holder == token then redis.call('DEL', lease) end
  if b[2] == token then set[#set + 1] = 'holder'; set[#set + 1] = '' end -- so that a renewal under way does not take it back
end
if #set > 0 then redis.call('HSET', box, unpack(set)) end
return {answer, kept, want, version, entries}

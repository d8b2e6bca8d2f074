-- A delivery looks at its conversation: takes the lease, or leaves word that
-- there is more to do. Repeating the call with the same token is harmless.
-- Every write costs a line in Redis' log, so the fields of the box are written
-- at once.
-- KEYS: lease box context out done summary    ARGV: token leaseMS seq created id window boxMS version room
local lease, box, context, out, done = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local token, seq, created, id = ARGV[1], tonumber(ARGV[3]), ARGV[4], ARGV[5]

local finished = redis.call('EXISTS', done)
if finished == 1 and redis.call('LLEN', out) == 0 then return {'finished'} end

local f = redis.call('HMGET', box, 'last', 'want', 'epoch', 'stop', 'created', 't:' .. id, 'f:' .. id, 'fence', 'version', 'note',
  'turns', 'bytes')
local last, want, stop = tonumber(f[1] or 0), tonumber(f[2] or 0), tonumber(f[4] or 0)
local set = {}
-- A recreated stream counts from 1 again.
if f[5] ~= created then
  last, want, stop = 0, 0, 0
  set = {'created', created, 'last', '0', 'kept', '0', 'stop', '0'} -- want is written below
end

local holder = redis.call('GET', lease)
if holder and holder ~= token then
  if seq > want then set[#set + 1] = 'want'; set[#set + 1] = ARGV[3] end
  if #set > 0 then redis.call('HSET', box, unpack(set)) end
  redis.call('PEXPIRE', box, ARGV[7])
  return {'busy', redis.call('PTTL', lease)}
end

-- An unfinished message at or below last proves last wrong: search the whole
-- stream again. What is finished there is passed over because of its done key.
if finished == 0 and seq <= last then
  last = 0
  set[#set + 1] = 'last'; set[#set + 1] = '0'
end

local tries, by = 0, ''
if f[6] then
  local n, t = string.match(f[6], '^(%d+):(.*)$')
  tries, by = tonumber(n), t
end
if finished == 0 and by ~= token then
  tries = tries + 1
  set[#set + 1] = 't:' .. id; set[#set + 1] = tries .. ':' .. token
end
-- Its own message is wanted, too: an earlier one may be the head, and its commit
-- must not give the conversation up before the delivered one had its turn.
if finished == 0 then want = math.max(want, seq) end
local fence = tonumber(f[8] or 0) + 1
redis.call('HSET', box, 'fence', fence, 'holder', token, 'want', want, unpack(set))
redis.call('PEXPIRE', box, ARGV[7])
redis.call('SET', lease, token, 'PX', ARGV[2])
-- Who knows the context already is not sent it again, only how long it is.
local turns, same, summary = {}, 0, ''
if context ~= '' and tonumber(ARGV[6]) > 0 then
  local have = redis.call('LLEN', context)
  if have > 0 and f[9] and f[9] == ARGV[8] then same = have
  else
    if have > 0 then turns = newest(context, have, tonumber(ARGV[6]), tonumber(ARGV[9]), f[11] or 0, f[12] or 0) end
    summary = redis.call('GET', KEYS[6]) or ''
  end
end
return {'go', fence, last, want, tonumber(f[3] or 0), stop, finished, tries, f[7] or '',
  same, turns, redis.call('LRANGE', out, 0, -1), summary, f[10] or ''}

-- A delivery looks at its conversation: takes the lease, or leaves word that
-- there is more to do. Repeating the call with the same token is harmless.
-- KEYS: lease box context out done    ARGV: token leaseMS seq created id window boxMS
local lease, box, context, out, done = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local token, seq, created, id = ARGV[1], tonumber(ARGV[3]), ARGV[4], ARGV[5]

local finished = redis.call('EXISTS', done)
if finished == 1 and redis.call('LLEN', out) == 0 then return {'finished'} end

local f = redis.call('HMGET', box, 'last', 'want', 'epoch', 'stop', 'created', 't:' .. id, 'f:' .. id)
local last, want = tonumber(f[1] or 0), tonumber(f[2] or 0)
-- A recreated stream counts from 1 again.
if f[5] ~= created then
  last, want = 0, 0
  redis.call('HSET', box, 'created', created, 'last', '0', 'want', '0', 'kept', '0', 'stop', '0')
  f[4] = '0'
end

local holder = redis.call('GET', lease)
if holder and holder ~= token then
  if seq > want then redis.call('HSET', box, 'want', ARGV[3]) end
  redis.call('PEXPIRE', box, ARGV[7])
  return {'busy', redis.call('PTTL', lease)}
end

-- An unfinished message at or below last proves last wrong: search the whole
-- stream again. What is finished there is passed over because of its done key.
if finished == 0 and seq <= last then
  last = 0
  redis.call('HSET', box, 'last', '0')
end

local tries, by = 0, ''
if f[6] then
  local n, t = string.match(f[6], '^(%d+):(.*)$')
  tries, by = tonumber(n), t
end
if finished == 0 and by ~= token then
  tries = tries + 1
  redis.call('HSET', box, 't:' .. id, tries .. ':' .. token)
end
-- Its own message is wanted, too: an earlier one may be the head, and its commit
-- must not give the conversation up before the delivered one had its turn.
if finished == 0 then want = math.max(want, seq) end
local fence = redis.call('HINCRBY', box, 'fence', 1)
redis.call('HSET', box, 'holder', token, 'want', want)
redis.call('PEXPIRE', box, ARGV[7])
redis.call('SET', lease, token, 'PX', ARGV[2])
local turns = {}
if context ~= '' and tonumber(ARGV[6]) > 0 then
  turns = redis.call('LRANGE', context, -tonumber(ARGV[6]), -1)
end
return {'go', fence, last, want, tonumber(f[3] or 0), tonumber(f[4] or 0), finished, tries, f[7] or '',
  turns, redis.call('LRANGE', out, 0, -1)}

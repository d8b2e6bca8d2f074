-- The holder turns to a message that is not the one it was woken by: is it
-- finished, and if not, count the attempt. The attempt that begin counted for
-- the delivered message is taken back when undo names it.
-- KEYS: lease box done context summary    ARGV: token fence id undo window version room
local box, token, id, undo = KEYS[2], ARGV[1], ARGV[3], ARGV[4]
local b = redis.call('HMGET', box, 'fence', 'holder', 't:' .. id, 'f:' .. id, 't:' .. undo, 'epoch', 'stop', 'version', 'note',
  'turns', 'bytes')
if not b[1] then return {'lost'} end
if b[1] ~= ARGV[2] or b[2] ~= token then return {'fenced'} end
if undo ~= '' and b[5] then
  local n, t = string.match(b[5], '^(%d+):(.*)$')
  if t == token then
    if tonumber(n) <= 1 then redis.call('HDEL', box, 't:' .. undo)
    else redis.call('HSET', box, 't:' .. undo, (tonumber(n) - 1) .. ':') end
  end
end
if redis.call('EXISTS', KEYS[3]) == 1 then return {'finished'} end
local tries, by = 0, ''
if b[3] then
  local n, t = string.match(b[3], '^(%d+):(.*)$')
  tries, by = tonumber(n), t
end
if by ~= token then
  tries = tries + 1
  redis.call('HSET', box, 't:' .. id, tries .. ':' .. token)
end
local turns, same, summary = {}, 0, ''
if tonumber(ARGV[5]) > 0 then
  local have = redis.call('LLEN', KEYS[4])
  if have > 0 and b[8] and b[8] == ARGV[6] then same = have
  else
    if have > 0 then turns = newest(KEYS[4], have, tonumber(ARGV[5]), tonumber(ARGV[7]), b[10] or 0, b[11] or 0) end
    summary = redis.call('GET', KEYS[5]) or ''
  end
end
return {'go', tries, b[4] or '', same, turns, tonumber(b[6] or 0), tonumber(b[7] or 0), summary, b[9] or ''}

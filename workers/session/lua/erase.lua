-- The last step of an erase. What order and once-only need stays in the box: the
-- fence, the holder with the attempt that runs, last, want, epoch and stop.
-- KEYS: session summary about box
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
if redis.call('EXISTS', KEYS[4]) == 0 then return 0 end
redis.call('HINCRBY', KEYS[4], 'epoch', 1)
local gone = {'version', 'turns', 'bytes', 'born', 'note', 'ring'}
for slot = 0, 63 do gone[#gone + 1] = 'r' .. slot end
local holder = redis.call('HGET', KEYS[4], 'holder') or ''
local all = redis.call('HGETALL', KEYS[4])
for i = 1, #all, 2 do
  local field, value = all[i], all[i + 1]
  if string.match(field, '^[tf]:') and not (holder ~= '' and string.match(value, '^%d+:(.*)$') == holder) then
    gone[#gone + 1] = field
  end
end
redis.call('HDEL', KEYS[4], unpack(gone))
return 1

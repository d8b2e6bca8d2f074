-- The first step of an erase: what runs at the moment leaves no turn any more, and
-- what is to be removed beside the session is named: the messages of the newest
-- turns and those in the ring of the box. Where there is nothing, nothing is made.
-- KEYS: session summary about box    ARGV: turns room boxMS
if redis.call('EXISTS', KEYS[1], KEYS[2], KEYS[3], KEYS[4]) == 0 then return {} end
local function is(key, kind) return redis.call('TYPE', key)['ok'] == kind end
local ids = {}
if is(KEYS[1], 'list') then
  local most, room, n = tonumber(ARGV[1]), tonumber(ARGV[2]), 0
  while n < most and room > 0 do
    local entry = redis.call('LINDEX', KEYS[1], -n - 1)
    if not entry then break end
    n, room = n + 1, room - #entry
    local id = string.match(entry, '^%d+ (%S+) ')
    if id then ids[#ids + 1] = id end
  end
end
if not is(KEYS[4], 'hash') then redis.call('DEL', KEYS[4]) end
redis.call('HINCRBY', KEYS[4], 'epoch', 1)
redis.call('HDEL', KEYS[4], 'version')
redis.call('PEXPIRE', KEYS[4], ARGV[3])
for slot = 0, 63 do
  local named = redis.call('HGET', KEYS[4], 'r' .. slot)
  if named then ids[#ids + 1] = named end
end
return ids

-- A part was tried, or (part 0) the answer was given up. A run that lost the
-- conversation in the meantime changes nothing: another one has judged by what it
-- found, and goes on from there.
-- KEYS: delivery box    ARGV: run part state receipt status outcome detail ttlMS
local fence = redis.call('HGET', KEYS[2], 'fence')
if fence and fence ~= ARGV[1] then return {'fenced'} end
local t = redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
local d = redis.call('HMGET', KEYS[1], 'p' .. ARGV[2], 'log')
if ARGV[2] ~= '0' then
  if ARGV[3] == '' then
    redis.call('HDEL', KEYS[1], 'p' .. ARGV[2])
  else
    local first = d[1] and string.match(d[1], '^%a+ (%d+)') or now
    redis.call('HSET', KEYS[1], 'p' .. ARGV[2], ARGV[3] .. ' ' .. first .. ' ' .. ARGV[4])
  end
  local lines = {}
  for line in string.gmatch(d[2] or '', '[^\n]+') do lines[#lines + 1] = line end
  local added = ARGV[2] .. ' ' .. ARGV[6] .. ' ' .. ARGV[7]
  -- A call of this script may be repeated: then the part is not being sent any more.
  if not d[2] or (d[1] and string.match(d[1], '^sending ')) then
    lines[#lines + 1] = now .. ' ' .. ARGV[2] .. ' ' .. ARGV[6] .. ' ' .. ARGV[7]
  end
  while #lines > 16 do table.remove(lines, 1) end
  redis.call('HSET', KEYS[1], 'log', table.concat(lines, '\n'))
end
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'status', ARGV[5]) end
redis.call('PEXPIRE', KEYS[1], ARGV[8])
return {'ok'}

-- Adds one process' counts to those of a day, once: a repetition, whose number is
-- not higher than the last one of its process, changes nothing. Gives the new
-- totals of the providers, in the order of their fields.
-- KEYS: usage names    ARGV: node number ttlMS fields, field and count of each,
-- then digest and sealed name of each caller
local mark, fields = 'n|' .. ARGV[1], tonumber(ARGV[4])
local new = tonumber(redis.call('HGET', KEYS[1], mark) or '0') < tonumber(ARGV[2])
local totals = {}
for i = 5, 4 + 2 * fields, 2 do
  local field, total = ARGV[i], nil
  if new then
    total = redis.pcall('HINCRBY', KEYS[1], field, ARGV[i + 1])
  end
  -- An error in between would leave half of a batch, to be added once more. A count
  -- that is full stays as it is.
  if type(total) ~= 'number' then
    total = tonumber(redis.call('HGET', KEYS[1], field) or '0')
  end
  if string.sub(field, 1, 2) == 'q|' then totals[#totals + 1] = total end
end
if new then redis.call('HSET', KEYS[1], mark, ARGV[2]) end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
for i = 5 + 2 * fields, #ARGV, 2 do redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return totals

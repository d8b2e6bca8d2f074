-- The same for fields of a hash.
-- KEYS: key    ARGV: field old new of each
local sealed = 0
for i = 1, #ARGV, 3 do
  if redis.call('HGET', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
    sealed = sealed + 1
  end
end
return sealed

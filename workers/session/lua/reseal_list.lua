-- The same for entries of a list. One that moved because the list was trimmed
-- meanwhile is not found, and left to another look.
-- KEYS: key    ARGV: index old new of each
local sealed = 0
for i = 1, #ARGV, 3 do
  if redis.call('LINDEX', KEYS[1], ARGV[i]) == ARGV[i + 1] then
    redis.call('LSET', KEYS[1], ARGV[i], ARGV[i + 2])
    sealed = sealed + 1
  end
end
return sealed

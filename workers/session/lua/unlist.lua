-- Takes conversations out of a caller's list, unless they were put there anew.
-- KEYS: sessions    ARGV: conversation ms ...
for i = 1, #ARGV, 2 do
  local at = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if at and tonumber(at) == tonumber(ARGV[i + 1]) then redis.call('ZREM', KEYS[1], ARGV[i]) end
end
return 1

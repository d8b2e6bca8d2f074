-- Puts the newly sealed value in the place of the one that was opened, and only
-- of that: whoever wrote meanwhile wins. The time to live stays.
-- KEYS: key    ARGV: old new
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1

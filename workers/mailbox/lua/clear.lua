-- The named outbox entries are stored in their stream. By value, so that a
-- repeated call takes nothing else away.
-- KEYS: lease out    ARGV: token entry...
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
for i = 2, #ARGV do redis.call('LREM', KEYS[2], 1, ARGV[i]) end
return 1

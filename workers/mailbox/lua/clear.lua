-- The named outbox entries are stored in their stream. By value, so that a
-- repeated or late call takes nothing else away, whoever has the lease.
-- KEYS: out    ARGV: entry...
for i = 1, #ARGV do redis.call('LREM', KEYS[1], 1, ARGV[i]) end
return 1

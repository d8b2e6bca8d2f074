-- Remembers whose session a conversation is, as long as it has turns: a late
-- write must not bring back what was erased. A new session writes over the
-- record of the one before; else the record stays and lives longer.
-- KEYS: about session    ARGV: sealed ttlMS new
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
if ARGV[3] == '1' then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
elseif not redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], 'NX') then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1

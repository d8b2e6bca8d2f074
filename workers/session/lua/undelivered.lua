-- What became of the parts of an answer goes with the answer, unless it is still on
-- its way: without the record it could be sent twice.
-- KEYS: delivery
local status = redis.pcall('HGET', KEYS[1], 'status')
if status ~= 'pending' then return redis.call('UNLINK', KEYS[1]) end
return 0

-- A script met a value of another type under a key of ours. Nobody can work with
-- that: it is taken away, and what was there counts as lost. What workers remember
-- of the context may be of before it, and so may what a message that runs goes by: the
-- mark, as after a fold, keeps that from being remembered.
-- KEYS: lease box context out summary done
local names = {'lease', 'box', 'session', 'out', 'summary', 'done'}
local types = {lease = 'string', box = 'hash', session = 'list', out = 'list', summary = 'string', done = 'string'}
local dropped = {}
for i, name in ipairs(names) do
  local is = redis.call('TYPE', KEYS[i])['ok']
  if is ~= 'none' and is ~= types[name] then
    redis.call('DEL', KEYS[i])
    dropped[#dropped + 1] = name
  end
end
redis.call('HDEL', KEYS[2], 'turns', 'bytes')
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('HSET', KEYS[2], 'version', 'folded') end
return dropped

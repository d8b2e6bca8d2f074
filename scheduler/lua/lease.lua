-- KEYS: active list, leases. ARGV: end of a new lease, in Unix seconds.
-- Gives a lease to each running task that has none, and returns their ids.
local mended = {}
for _, id in ipairs(redis.call("LRANGE", KEYS[1], 0, -1)) do
  if redis.call("ZADD", KEYS[2], "NX", ARGV[1], id) == 1 then
    mended[#mended + 1] = id
  end
end
return mended

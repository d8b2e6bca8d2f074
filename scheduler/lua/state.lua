-- KEYS: task, active list, leases. ARGV: id, end of a new lease in Unix seconds.
-- Returns the task's state, empty for none. A task that is said to run but has
-- no lease gets one, and its place in the list if it lost that too.
local state = redis.call("HGET", KEYS[1], "state")
if not state then
  return ""
end
if state == "active" and redis.call("ZADD", KEYS[3], "NX", ARGV[2], ARGV[1]) == 1 then
  redis.call("LREM", KEYS[2], 0, ARGV[1])
  redis.call("LPUSH", KEYS[2], ARGV[1])
end
return state

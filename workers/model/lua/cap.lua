-- One process asks for, renews or gives back its permits to call a model. The
-- sum over all live processes never exceeds the limit, but for calls that run
-- anyway. Returns the permits it holds now, how many of them it may use again
-- by itself before it has to ask, and whether somebody else goes short.
-- KEYS: cap    ARGV: node inUse insist want limit ttlMS turn
-- A record is "held want since expiry turn"; since is when its owner last got
-- something to use, or began to wait. A question that arrives behind a later one
-- of its owner, whose turn is higher, changes nothing.
local node = ARGV[1]
local inUse, insist, want = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local limit, ttl, turn = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

local others, held, wanted, mine = {}, 0, 0, nil
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local h, w, since, expiry, at = string.match(all[i + 1], '^(%d+) (%d+) (%d+) (%d+) (%d+)$')
  if not h or tonumber(expiry) <= now then
    redis.call('HDEL', KEYS[1], all[i])
  elseif all[i] == node then
    if tonumber(at) > turn then return { tonumber(h), 0, 1 } end
    mine = { held = tonumber(h), since = tonumber(since) }
  else
    local o = { held = tonumber(h), want = tonumber(w), since = tonumber(since) }
    others[#others + 1] = o
    held, wanted = held + o.held, wanted + o.want
  end
end

-- Without a live record nothing can be insisted on but what runs anyway.
local floor = inUse
if mine then floor = math.max(inUse, math.min(insist, mine.held)) end
local free = math.max(0, limit - held)
local due, again, short = want, want, wanted + want > limit

if short then
  -- Fill up evenly: who wants less than an even share leaves the rest to others.
  local wants = { want }
  for _, o in ipairs(others) do wants[#wants + 1] = o.want end
  table.sort(wants)
  local left, level = limit, 0
  for i, w in ipairs(wants) do
    level = math.floor(left / (#wants - i + 1))
    if w > level then break end
    left = left - w
  end
  -- What does not divide evenly goes to whoever has waited longest.
  local function fair(w) return math.min(w, level) end
  local odd, since, before = limit - fair(want), mine and mine.since or now, 0
  for _, o in ipairs(others) do
    odd = odd - fair(o.want)
    if o.held > fair(o.want) then
      odd = odd - (o.held - fair(o.want))
    elseif o.want > o.held and o.held == fair(o.want) and o.since < since then
      before = before + 1
    end
  end
  due, again = fair(want), fair(want)
  if want > due and odd > before then due = due + 1 end
end

local granted = math.max(floor, math.min(want, due, free))
local since = mine and mine.since or now
if granted > inUse then since = now end
if granted == 0 and want == 0 then
  redis.call('HDEL', KEYS[1], node)
else
  redis.call('HSET', KEYS[1], node, string.format('%d %d %.0f %.0f %d', granted, want, since, now + ttl, turn))
  redis.call('PEXPIRE', KEYS[1], 2 * ttl)
end
return { granted, again, short and 1 or 0 }

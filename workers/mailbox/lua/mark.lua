-- Remembers the last sequence that was ever seen in a stream. A stream that ends
-- before it went back in time (its store was restored from a copy), and its
-- sequences are used again: that is counted.
-- KEYS: mark    ARGV: created last known ttlMS
local seen = tonumber(ARGV[2])
local b = redis.call('HMGET', KEYS[1], 'created', 'last', 'rewound')
local last, rewound = tonumber(b[2] or 0), tonumber(b[3] or 0)
if b[1] ~= ARGV[1] then
  last, rewound = 0, 0
elseif seen < tonumber(ARGV[3]) and ARGV[3] == b[2] then
  -- known was read before the stream was looked at, so the look is no stale one.
  last, rewound = 0, rewound + 1
end
redis.call('HSET', KEYS[1], 'created', ARGV[1], 'last', math.max(last, seen), 'rewound', rewound)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return rewound

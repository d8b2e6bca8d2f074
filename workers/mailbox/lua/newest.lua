-- newest gives the last entries of a list of have: at most window, and no more
-- than fit into room bytes. Where the box knows how many bytes the list has, it
-- reads them at once; else one by one, so that a list that somebody else filled
-- is never brought whole.
local function newest(list, have, window, room, turns, bytes)
  if tonumber(turns) == have and tonumber(bytes) <= room then return redis.call('LRANGE', list, -window, -1) end
  local found, size = {}, 0
  while #found < window and #found < have do
    local entry = redis.call('LINDEX', list, -#found - 1)
    size = size + #entry
    if size > room then break end
    found[#found + 1] = entry
  end
  for i = 1, math.floor(#found / 2) do found[i], found[#found + 1 - i] = found[#found + 1 - i], found[i] end
  return found
end

-- Mend the list of runs that wait for a person until a deadline: what waits so stands in it at the record's own deadline, nothing else does.
-- ARGV: run ids. Returns how many entries were mended.
local kind, mended = redis.call('TYPE', K.DEADLINES).ok, 0
if kind ~= 'zset' and kind ~= 'none' then redis.call('DEL', K.DEADLINES) end
for _, run in ipairs(ARGV) do
  local state, deadline = unpack(fields(run, 'state', 'deadline'), 1, 2)
  local at = state == 'waiting' and number(deadline) or 0
  if at == 0 then
    mended = mended + redis.call('ZREM', K.DEADLINES, run)
  elseif number(redis.call('ZSCORE', K.DEADLINES, run)) ~= at then
    redis.call('ZADD', K.DEADLINES, at, run)
    mended = mended + 1
  end
end
return mended

-- Put a run in line that waits and stands in none: an older version knew no lines.
-- ARGV: run id, user, asks, format.
if not redis.call('ZSCORE', K.PENDING, ARGV[1]) then return 'ABSENT' end
local state, line, format = unpack(fields(ARGV[1], 'state', 'line', 'format'), 1, 3)
if state ~= 'queued' then return 'ABSENT' end
if line and redis.call('ZSCORE', K.LINE .. line, ARGV[1]) then return 'THERE' end
redis.call('HSET', K.RUN .. ARGV[1], 'user', ARGV[2], 'asks', ARGV[3], 'format', math.max(number(format), number(ARGV[4])))
enter(ARGV[1], clock())
return 'OK'

-- Record a new run with its first events, and put it in line.
-- KEYS: record, stream, runs, live. ARGV: run id, now (ms), state, spec, view, head, user, what the run asks of the queue, format, then for each
-- event the field of its bytes, those bytes, and its hash.
if redis.call('EXISTS', KEYS[1]) == 1 then return 'EXISTS' end
local seq = 0
for i = 10, #ARGV, 3 do
  seq = seq + 1
  redis.call('XADD', KEYS[2], seq .. '-0', ARGV[i], ARGV[i + 1], 'h', ARGV[i + 2])
end
redis.call('HSET', KEYS[1], 'state', ARGV[3], 'spec', ARGV[4], 'view', ARGV[5], 'head', ARGV[6],
  'seq', seq, 'fence', 0, 'attempt', 1, 'lease_until', 0, 'user', ARGV[7], 'asks', ARGV[8], 'format', ARGV[9])
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[1])
redis.call('ZADD', KEYS[4], ARGV[2], ARGV[1])
enter(ARGV[1], clock())
return 'OK'

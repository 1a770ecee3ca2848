-- Record a new run with its first events, and put it in line.
-- KEYS: record, stream, runs, live. ARGV: run id, state, spec, view, head, user, what the run asks of the queue, format, then for each event the
-- field of its bytes, those bytes, and its hash. Who came first is told by the clock here: those of hosts differ by more than lies between two.
if redis.call('EXISTS', KEYS[1]) == 1 then return 'EXISTS' end
local seq = 0
local now = clock()
for i = 9, #ARGV, 3 do
  seq = seq + 1
  redis.call('XADD', KEYS[2], seq .. '-0', ARGV[i], ARGV[i + 1], 'h', ARGV[i + 2])
end
redis.call('HSET', KEYS[1], 'state', ARGV[2], 'spec', ARGV[3], 'view', ARGV[4], 'head', ARGV[5],
  'seq', seq, 'fence', 0, 'attempt', 1, 'lease_until', 0, 'user', ARGV[6], 'asks', ARGV[7], 'format', ARGV[8])
redis.call('ZADD', KEYS[3], now, ARGV[1])
redis.call('ZADD', KEYS[4], now, ARGV[1])
enter(ARGV[1], now)
return 'OK'

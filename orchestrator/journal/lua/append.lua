-- Append events to a run's journal, if the writer may and nobody wrote in between.
-- KEYS: record, stream, live, pending, runs.
-- ARGV: run id, fence ('' = open append), expected head, new head, state, view, lease (ms), operation,
-- signature of the last event's head ('' = none), then pairs of event and hash.
-- Operations: 'none'; 'finish' ends the run and its lease; 'requeue' gives it to the next attempt; 'reopen' does so with a run that is done.
-- A run that is done takes nothing else. An open finish or requeue is refused while a lease is alive: only the owner of a run ends it then.
local record, fence, operation = KEYS[1], ARGV[2], ARGV[8]
if redis.call('EXISTS', record) == 0 then return 'UNKNOWN' end
if fence ~= '' and redis.call('HGET', record, 'fence') ~= fence then return 'FENCED' end
local done = redis.call('HGET', record, 'state') == 'done'
if done and operation ~= 'reopen' then return 'DONE' end
if operation == 'reopen' and not done then return 'LEASED' end
if redis.call('HGET', record, 'head') ~= ARGV[3] then return 'HEAD' end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local leased = tonumber(redis.call('HGET', record, 'lease_until')) > now
if fence == '' and operation ~= 'none' and leased then return 'LEASED' end
local seq = tonumber(redis.call('HGET', record, 'seq'))
for i = 10, #ARGV, 2 do
  seq = seq + 1
  if i + 2 > #ARGV and ARGV[9] ~= '' then
    redis.call('XADD', KEYS[2], seq .. '-0', 'e', ARGV[i], 'h', ARGV[i + 1], 's', ARGV[9])
  else
    redis.call('XADD', KEYS[2], seq .. '-0', 'e', ARGV[i], 'h', ARGV[i + 1])
  end
end
redis.call('HSET', record, 'head', ARGV[4], 'seq', seq, 'state', ARGV[5], 'view', ARGV[6])
if operation == 'none' then
  if fence ~= '' then redis.call('HSET', record, 'lease_until', now + ARGV[7]) end
  return 'OK'
end
redis.call('HSET', record, 'lease_until', 0)
redis.call('HINCRBY', record, 'fence', 1)
redis.call('ZREM', KEYS[4], ARGV[1])
if operation == 'finish' then
  redis.call('ZREM', KEYS[3], ARGV[1])
else
  if operation == 'reopen' then redis.call('ZADD', KEYS[3], redis.call('ZSCORE', KEYS[5], ARGV[1]), ARGV[1]) end
  redis.call('HINCRBY', record, 'attempt', 1)
  redis.call('ZADD', KEYS[4], now, ARGV[1])
end
return 'OK'

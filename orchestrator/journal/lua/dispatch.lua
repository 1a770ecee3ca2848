-- Move a pending run onto RQ: the only way there.
-- KEYS: pending, record, RQ job, RQ queue, RQ's set of queues. ARGV: run id, attempt, job id, then the job's fields and values.
if redis.call('ZSCORE', KEYS[1], ARGV[1]) == false then return 'ABSENT' end
if redis.call('HGET', KEYS[2], 'attempt') ~= ARGV[2] then return 'STALE' end
redis.call('ZREM', KEYS[1], ARGV[1])
if redis.call('HGET', KEYS[2], 'state') == 'done' then return 'DONE' end
for i = 4, #ARGV, 2 do redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
redis.call('SADD', KEYS[5], KEYS[4])
redis.call('RPUSH', KEYS[4], ARGV[3])
return 'OK'

-- Give a run to an attempt, under a new fencing token.
-- KEYS: record. ARGV: attempt, lease (ms), the worker's name ('' = none). Returns the token, or the reason why not.
-- A worker that was believed to be dead may hold the job of a run that was put back in line: it's another worker's now, or nobody's yet.
local record = KEYS[1]
if redis.call('EXISTS', record) == 0 then return 'UNKNOWN' end
local state = redis.call('HGET', record, 'state')
if state == 'done' then return 'DONE' end
if state == 'waiting' then return 'PARKED' end
if redis.call('HGET', record, 'attempt') ~= ARGV[1] then return 'STALE' end
local run = record:sub(#K.RUN + 1)
if ARGV[3] ~= '' and (parsed(redis.call('HGET', K.HELD, run)) or {}).worker ~= ARGV[3] then return 'STALE' end
local now = clock()
if tonumber(redis.call('HGET', record, 'lease_until')) > now then return 'LEASED' end
local fence = redis.call('HINCRBY', record, 'fence', 1)
redis.call('HSET', record, 'lease_until', now + ARGV[2])
return fence

-- Give a run to an attempt, under a new fencing token.
-- KEYS: record. ARGV: attempt, lease (ms). Returns the token, or the reason why not.
local record = KEYS[1]
if redis.call('EXISTS', record) == 0 then return 'UNKNOWN' end
local state = redis.call('HGET', record, 'state')
if state == 'done' then return 'DONE' end
if state == 'waiting' then return 'PARKED' end
if redis.call('HGET', record, 'attempt') ~= ARGV[1] then return 'STALE' end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if tonumber(redis.call('HGET', record, 'lease_until')) > now then return 'LEASED' end
local fence = redis.call('HINCRBY', record, 'fence', 1)
redis.call('HSET', record, 'lease_until', now + ARGV[2])
return fence

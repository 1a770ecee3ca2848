-- Renew a lease, also one that ran out, as long as no newer fencing token exists.
-- KEYS: record. ARGV: fence, lease (ms).
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[1] then return 'FENCED' end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'lease_until', time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2])
return 'OK'

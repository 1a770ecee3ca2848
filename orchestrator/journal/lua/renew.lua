-- Renew a lease, also one that ran out, as long as no newer fencing token exists.
-- KEYS: record, leases. ARGV: run id, fence, lease (ms).
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[2] then return 'FENCED' end
local time = redis.call('TIME')
local till = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[3]
redis.call('HSET', KEYS[1], 'lease_until', till)
redis.call('ZADD', KEYS[2], till, ARGV[1])
return 'OK'

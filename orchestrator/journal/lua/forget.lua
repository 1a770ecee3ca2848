-- Give up a run that is over, with all that is kept of it.
-- KEYS: record, stream, blobs, archive, live text, then the lists it is in, the one of archived runs last. ARGV: run id.
if redis.call('HGET', KEYS[1], 'state') ~= 'done' then
  redis.call('ZREM', KEYS[#KEYS], ARGV[1])
  return 'LIVE'
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
for i = 6, #KEYS do redis.call('ZREM', KEYS[i], ARGV[1]) end
return 'OK'

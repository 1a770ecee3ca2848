-- Put an archive in place of the journal of a run that is over, if it still is and ends where the archive does; one that isn't over has no
-- place in `finished`.
-- KEYS: record, stream, blobs, archive, finished, archived. ARGV: run id, head, then the pieces.
local record = KEYS[1]
if redis.call('HGET', record, 'state') ~= 'done' then
  redis.call('ZREM', KEYS[5], ARGV[1])
  return 'LIVE'
end
if redis.call('HGET', record, 'head') ~= ARGV[2] then return 'HEAD' end
local ended = redis.call('ZSCORE', KEYS[5], ARGV[1])
redis.call('ZREM', KEYS[5], ARGV[1])
if redis.call('EXISTS', KEYS[4]) == 1 then return 'ARCHIVED' end
for i = 3, #ARGV do redis.call('RPUSH', KEYS[4], ARGV[i]) end
redis.call('DEL', KEYS[2], KEYS[3])
if ended then redis.call('ZADD', KEYS[6], ended, ARGV[1]) end
return 'OK'

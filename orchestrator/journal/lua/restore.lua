-- Take a journal out of its archive again, because its run goes on.
-- KEYS: stream, blobs, archive, archived. ARGV: run id, number of blobs, then pairs of a blob's name and its bytes, then for each event
-- the field of its bytes, those bytes, its hash, and its signature or ''.
redis.call('ZREM', KEYS[4], ARGV[1])
if redis.call('EXISTS', KEYS[3]) == 0 then return 'ABSENT' end
local first = 3 + 2 * ARGV[2]
for i = 3, first - 1, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
local seq = 0
for i = first, #ARGV, 4 do
  seq = seq + 1
  if ARGV[i + 3] == '' then
    redis.call('XADD', KEYS[1], seq .. '-0', ARGV[i], ARGV[i + 1], 'h', ARGV[i + 2])
  else
    redis.call('XADD', KEYS[1], seq .. '-0', ARGV[i], ARGV[i + 1], 'h', ARGV[i + 2], 's', ARGV[i + 3])
  end
end
redis.call('DEL', KEYS[3])
return 'OK'

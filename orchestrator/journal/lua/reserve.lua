-- Put money aside for one reply, of what the run's user and team have left today: at most so much, at least so much, or nothing. What runs under way
-- have put aside counts as spent. It's gone with the append that takes the reply, or with what ends the attempt.
-- KEYS: record. ARGV: run id, fence, a name for it, most, least (US dollars). Returns how much; FREE where there is no limit; FENCED; or FULL and whose.
if redis.call('HGET', KEYS[1], 'fence') ~= ARGV[2] then return 'FENCED' end
local user = fields(ARGV[1], 'user')[1]
if not user then return 'FREE' end
local q = {policy = policy(), spent = hash(K.SPENT .. day(clock()))}
find_reserved(q)
local left, whose = left_of(q, user)
if not left then return 'FREE' end
local most, least = number(ARGV[4]), number(ARGV[5])
if left < least then
  redis.call('HSET', KEYS[1], 'needs', ARGV[5]) -- Before there's so much it needn't be given to a worker again.
  return 'FULL ' .. whose
end
local got = string.format('%.17g', math.min(most, left))
local one = parsed(redis.call('HGET', K.RESERVED, ARGV[1])) or {}
one.user, one.held = user, object(one.held)
one.held[ARGV[3]] = got
redis.call('HSET', K.RESERVED, ARGV[1], cjson.encode(one))
return got

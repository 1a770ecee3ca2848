-- Append events to a run's journal, if the writer may and nobody wrote in between.
-- KEYS: record, stream, live, runs, blobs, archive, finished.
-- ARGV: run id, fence ('' = open append), expected head, new head, state, view, lease (ms), operation, signature of the last event's head
-- ('' = none), the writer's format, what the replies among the events cost (US dollars), number of blobs, names of what is put aside no more,
-- joined by commas, until when a run that is parked waits for a person (ms, '' = for as long as it takes), then pairs of a blob's name and its
-- bytes, then for each event the field of its bytes, those bytes, and its hash.
-- Operations: 'none'; 'finish' ends the run and its lease; 'requeue' gives it to the next attempt, 'reopen' a run that is done, 'resume'
-- one that is parked; 'park' leaves it to nobody. A run that is done takes nothing else, and one that is parked isn't given on by a requeue.
-- An open operation is refused while a lease is alive: only the owner of a run ends it then.
local record, fence, operation = KEYS[1], ARGV[2], ARGV[8]
if redis.call('EXISTS', record) == 0 then return 'UNKNOWN' end
if fence ~= '' and redis.call('HGET', record, 'fence') ~= fence then return 'FENCED' end
local state = redis.call('HGET', record, 'state')
if state == 'done' and operation ~= 'reopen' then return 'DONE' end
if operation == 'reopen' and state ~= 'done' then return 'LEASED' end
if (state == 'waiting') ~= (operation == 'resume') and (operation == 'resume' or operation == 'requeue') then return 'PARKED' end
if redis.call('HGET', record, 'head') ~= ARGV[3] then return 'HEAD' end
if redis.call('EXISTS', KEYS[6]) == 1 then return 'ARCHIVED' end
local now = clock()
local lease = tonumber(redis.call('HGET', record, 'lease_until'))
local leased = lease > now
if fence == '' and operation ~= 'none' and leased then return 'LEASED' end
local seq = tonumber(redis.call('HGET', record, 'seq'))
local first = 15 + 2 * ARGV[12]
for i = 15, first - 1, 2 do redis.call('HSET', KEYS[5], ARGV[i], ARGV[i + 1]) end
for i = first, #ARGV, 3 do
  seq = seq + 1
  if i + 3 > #ARGV and ARGV[9] ~= '' then
    redis.call('XADD', KEYS[2], seq .. '-0', ARGV[i], ARGV[i + 1], 'h', ARGV[i + 2], 's', ARGV[9])
  else
    redis.call('XADD', KEYS[2], seq .. '-0', ARGV[i], ARGV[i + 1], 'h', ARGV[i + 2])
  end
end
redis.call('HSET', record, 'head', ARGV[4], 'seq', seq, 'state', ARGV[5], 'view', ARGV[6])
if number(ARGV[11]) > 0 then spend(ARGV[1], ARGV[11], now) end
if ARGV[13] ~= '' then release(ARGV[1], ARGV[13]) end
if number(ARGV[10]) > number(redis.call('HGET', record, 'format')) then -- From here on an older worker can't read it.
  redis.call('HSET', record, 'format', ARGV[10])
  if operation == 'none' and redis.call('ZSCORE', K.PENDING, ARGV[1]) then
    leave(ARGV[1])
    enter(ARGV[1], now)
  end
end
if operation == 'none' then
  if fence ~= '' then redis.call('HSET', record, 'lease_until', now + ARGV[7]) end
  return 'OK'
end
redis.call('HSET', record, 'lease_until', 0)
redis.call('HINCRBY', record, 'fence', 1)
leave(ARGV[1])
redis.pcall('ZREM', K.DEADLINES, ARGV[1]) -- What somebody put in its place mustn't end this half-way; a keeper mends it.
if operation == 'park' and ARGV[14] ~= '' then
  redis.call('HSET', record, 'deadline', ARGV[14])
  redis.pcall('ZADD', K.DEADLINES, ARGV[14], ARGV[1])
else
  redis.call('HDEL', record, 'deadline')
end
settle(ARGV[1], now, lease == 0) -- It was never claimed: that is no measure of an attempt.
if operation == 'finish' then
  redis.call('ZREM', KEYS[3], ARGV[1])
  redis.call('ZADD', KEYS[7], now, ARGV[1])
elseif operation ~= 'park' then
  if operation == 'reopen' then
    redis.call('ZADD', KEYS[3], redis.call('ZSCORE', KEYS[4], ARGV[1]), ARGV[1])
    redis.call('ZREM', KEYS[7], ARGV[1])
  end
  redis.call('HINCRBY', record, 'attempt', 1)
  enter(ARGV[1], now)
end
return 'OK'

-- Enqueue a project's dream, once however many keepers ask; and again the one whose worker was killed, a few times.
-- ARGV: project, the job's id, the beginning of this period (ms), whether there's anything to dream of ('1'), for how long a dream is missed
-- before it's believed to be lost (ms), how often it's tried, RQ's set of queues, the beginning of a job's key, then a job's fields and values, in
-- which {job} stands for its id. Returns QUEUED, AGAIN or GIVEN_UP, else nothing.
local project, job, began, due, patience, most = unpack(ARGV)
local UNDER_WAY = {queued = true, running = true, again = true}
local now, last = clock(), parsed(redis.call('HGET', K.DREAMS, project))
if last and type(last.job) ~= 'string' then last = nil end

local function put() redis.call('HSET', K.DREAMS, project, cjson.encode(last)) end

local function enqueue()
  last.state, last.changed, last.missed = 'queued', now, nil
  for _, list in ipairs({K.RQ_DREAMS, K.RQ_DREAMS .. ':intermediate'}) do redis.call('LREM', list, 0, last.job) end
  redis.call('DEL', ARGV[8] .. last.job)
  for i = 9, #ARGV, 2 do redis.call('HSET', ARGV[8] .. last.job, ARGV[i], (ARGV[i + 1]:gsub('{job}', last.job))) end
  redis.call('SADD', ARGV[7], K.RQ_DREAMS)
  redis.call('RPUSH', K.RQ_DREAMS, last.job)
  put()
end

local function waits()
  for _, one in ipairs(redis.call('LRANGE', K.RQ_DREAMS, 0, -1)) do
    if one == last.job then return true end
  end
end

if last and UNDER_WAY[last.state] then
  local owner = parsed(redis.call('HGET', K.DREAMING, project))
  if waits() or (owner and number(owner['until']) > now) then
    if last.missed then
      last.missed = nil
      put()
    end
    return ''
  end
  -- It's in no list, and nobody has the library. Just popped or just ended it's that for a moment; one that stays so was lost.
  if not last.missed then
    last.missed = now
    put()
  end
  if now - number(last.missed) < tonumber(patience) then return '' end
  if number(last.tries) >= tonumber(most) then
    last.state, last.changed = 'failed', now
    if not last.why or last.why == '' then last.why = 'its worker died each time' end
    put()
    return 'GIVEN_UP'
  end
  last.tries = number(last.tries) + 1
  enqueue()
  return 'AGAIN'
end

if due ~= '1' or (last and number(last.at) >= tonumber(began)) then return '' end
last = {job = job, tries = 1, at = now, host = '', why = ''}
enqueue()
return 'QUEUED'

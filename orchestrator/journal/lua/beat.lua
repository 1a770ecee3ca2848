-- Say that a process lives. A worker also says here what it carries, and is free from the moment at which it carries nothing.
-- KEYS: its presence. ARGV: its presence as JSON, for how long that holds (s), the worker's name ('' for what is no worker), the attempt that
-- it carries ('' for none), and whether one has just ended ('1').
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
local name, carries = ARGV[3], ARGV[4]
if name == '' then return 'OK' end
-- Put in front as text: taken apart and together again its empty lists would be none.
redis.call('HSET', K.WORKERS, name, '{"seen":' .. clock() .. ',' .. ARGV[1]:sub(2))
local queue = K.RQ_QUEUE .. name
if carries ~= '' then
  redis.call('HSETNX', K.BUSY, name, carries) -- It was believed to be dead.
else
  -- Its work-horse may have been killed before it took the attempt out of RQ's list of what was popped and hasn't begun.
  if ARGV[5] == '1' then redis.call('DEL', queue .. ':intermediate') end
  -- Nor does RQ take out of it what it popped in vain, because somebody had deleted the job.
  for _, job in ipairs(redis.call('LRANGE', queue .. ':intermediate', 0, -1)) do
    if redis.call('EXISTS', 'rq:job:' .. job) == 0 then redis.call('LREM', queue .. ':intermediate', 0, job) end
  end
  if redis.call('LLEN', queue) + redis.call('LLEN', queue .. ':intermediate') == 0 then redis.call('HDEL', K.BUSY, name) end
end
return 'OK'

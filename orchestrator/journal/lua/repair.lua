-- Clear up after workers that are dead: what they were given and never claimed goes back in line, without blame; and forget of what is under way
-- whatever isn't any more, so that it counts against no limit. What was claimed is handed over when its lease has run out, by others.
-- ARGV: the name of a worker that leaves ('' for none: the dead ones alone). Returns how many runs were put back.
local now = clock()
local workers, busy, dead = hash(K.WORKERS), hash(K.BUSY), {}
for name, text in pairs(workers) do
  local seen = tonumber(text:match('^{"seen":(%d+)'))
  if ARGV[1] == name or (ARGV[1] == '' and not (seen and lives(now, seen))) then dead[name] = true end
end
for name in pairs(busy) do
  if name == ARGV[1] or (ARGV[1] == '' and not workers[name]) then dead[name] = true end
end
for name in pairs(dead) do
  local queue = K.RQ_QUEUE .. name
  for _, list in ipairs({queue, queue .. ':intermediate'}) do
    for _, job in ipairs(redis.call('LRANGE', list, 0, -1)) do redis.call('DEL', 'rq:job:' .. job) end
  end
  redis.call('DEL', queue, queue .. ':intermediate')
  redis.call('SREM', 'rq:queues', queue)
  -- What RQ keeps for each queue; this one's name never comes again.
  for _, kind in ipairs({'wip', 'finished', 'failed', 'deferred', 'scheduled', 'canceled', 'workers'}) do
    redis.call('DEL', 'rq:' .. kind .. ':' .. queue:sub(#'rq:queue:' + 1))
  end
  redis.call('HDEL', K.WORKERS, name)
  redis.call('HDEL', K.BUSY, name)
end
local back = 0
for run, text in pairs(hash(K.HELD)) do
  local held = parsed(text) or {}
  local state, attempt, lease = unpack(fields(run, 'state', 'attempt', 'lease_until'), 1, 3)
  local current = state and held.attempt == run .. '-a' .. (attempt or '')
  local has_it = held.worker and not dead[held.worker] and busy[held.worker] == held.attempt
  if not current or state == 'done' or state == 'waiting' then
    settle(run, now)
  elseif number(lease) <= now and not has_it then
    local unclaimed = state == 'queued' and number(lease) == 0
    if unclaimed and held.worker and (dead[held.worker] or not workers[held.worker]) then
      settle(run, now, true)
      enter(run, now)
      back = back + 1
    elseif ARGV[1] == '' then
      settle(run, now, unclaimed)
    end
  end
end
return back

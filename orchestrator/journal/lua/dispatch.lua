-- Give runs that wait to workers that are free: the only way onto RQ. Whose turn it is says queue.lua.
-- ARGV: RQ's set of queues, the beginning of a job's key, then a job's fields and values, in which {job} and {worker} stand for the names.
-- Returns JSON: `sent`, pairs of attempt and worker; `asked`, who is to give up a worker: run, attempt, why, and about whom.
local q = opened(clock())
find_workers(q)
for _, line in pairs(q.lines) do find_head(q, line) end

local function send(line, worker)
  give(q, line, worker)
  local names = {['{job}'] = line.attempt, ['{worker}'] = worker.name}
  for i = 3, #ARGV, 2 do redis.call('HSET', ARGV[2] .. line.attempt, ARGV[i], (ARGV[i + 1]:gsub('{%a+}', names))) end
  redis.call('SADD', ARGV[1], K.RQ_QUEUE .. worker.name)
  redis.call('RPUSH', K.RQ_QUEUE .. worker.name, line.attempt)
  return {line.attempt, worker.name}
end

-- One at a time: each changes whose turn it is next.
local function send_next()
  for _, line in ipairs(in_order(q)) do
    local worker = seat(q, line)
    if worker then
      local sent = send(line, worker)
      find_head(q, line)
      return sent
    end
  end
end

local sent, free = {}, 0
for _, worker in pairs(q.workers) do free = free + (worker.free and 1 or 0) end
while #sent < free do
  local one = send_next()
  if not one then break end
  table.insert(sent, one)
end

if not next(q.lines) then redis.call('DEL', K.SERVED) end

local WHY = {priority = true, budget = true, drain = true}
local asked = {}
local function ask(run, why, about)
  local one = q.held[run]
  one.asked, one.about, one.asked_at = why, about, q.now
  redis.call('HSET', K.HELD, run, cjson.encode(one))
  table.insert(asked, {run, one.attempt, why, about})
end

-- What is under way for somebody over budget, or on a host that is to drain, isn't to go on; what was asked and goes on may not have heard.
for run, one in pairs(q.held) do
  local worker, whose = q.workers[one.worker], used_up(q, one.user)
  if one.asked then
    if q.now - number(one.asked_at) > AGAIN_MS and WHY[one.asked] and type(one.attempt) == 'string' then
      ask(run, one.asked, tostring(one.about or ''))
    end
  elseif worker and drained(q, worker) then
    ask(run, 'drain', worker.host)
  elseif whose then
    ask(run, 'budget', whose)
  end
end

-- Heads of high priority that found no worker: for each, one run of lower priority is asked to give up a worker that would do. Age doesn't count
-- here, or whatever waits for long would throw others out.
local function comes_before(one, other)
  if RANK[one.priority] ~= RANK[other.priority] then return (RANK[one.priority] or 0) < (RANK[other.priority] or 0) end
  return number(one.since) > number(other.since)
end

local counted = {} -- Who gives a worker up already does it for one of them.
for _, line in ipairs(in_order(q)) do
  if line.priority == 'high' then
    local coming, victim
    for run, one in pairs(q.held) do
      local worker = q.workers[one.worker]
      if worker and not counted[run] and (one.asked or (RANK[one.priority] or 0) < RANK.high) and fits(q, worker, line) then
        if one.asked then
          coming = run
        elseif not victim or comes_before(one, q.held[victim]) then
          victim = run
        end
      end
    end
    if not coming and victim then ask(victim, 'priority', '') end
    if coming or victim then counted[coming or victim] = true end
  end
end
return cjson.encode({sent = sent, asked = asked})

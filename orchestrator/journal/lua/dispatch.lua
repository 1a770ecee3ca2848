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

-- A worker that was given up for a run of high priority is that run's, whoever else waits: or those that age put beside it would each take it, and
-- be asked for it again. Where that run waits no more, or may not go now, the worker is anybody's.
local sent, promised = {}, hash(K.PROMISED)
local heads = {}
for _, line in pairs(q.lines) do
  if line.run then heads[line.run] = line end
end
for name, run in pairs(promised) do
  local worker, line = q.workers[name], heads[run]
  local keeps = worker and line and not barred(q, line) and fits(q, worker, line)
  if keeps and worker.free then
    table.insert(sent, send(line, worker))
    find_head(q, line)
    keeps = false
  end
  if not keeps then
    redis.call('HDEL', K.PROMISED, name)
    promised[name] = nil
  end
end

local free = 0
for _, worker in pairs(q.workers) do free = free + (worker.free and 1 or 0) end
for _ = 1, free do
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

-- Heads of high priority that found no worker: each is promised one that would do. Best one that is being given up anyway; else a run of lower
-- priority is asked for its own. Age doesn't count here, or whatever waits for long would throw others out.
local function comes_before(one, other)
  if RANK[one.priority] ~= RANK[other.priority] then return (RANK[one.priority] or 0) < (RANK[other.priority] or 0) end
  return number(one.since) > number(other.since)
end

local carried = {} -- By worker: the run that it carries. One that carries none and isn't free yet clears up after one.
for run, one in pairs(q.held) do carried[one.worker] = run end

local function promise(line)
  local victim, coming
  for name, worker in pairs(q.workers) do
    local run = carried[name]
    local one = run and q.held[run]
    if not worker.free and not promised[name] and fits(q, worker, line) then
      if not one or one.asked then
        coming = name
      elseif (RANK[one.priority] or 0) < RANK.high and (not victim or comes_before(one, q.held[victim])) then
        victim = run
      end
    end
  end
  if not coming and not victim then return end
  if not coming then
    coming = q.held[victim].worker
    ask(victim, 'priority', '')
  end
  promised[coming] = line.run
  redis.call('HSET', K.PROMISED, coming, line.run)
end

local has = {}
for _, run in pairs(promised) do has[run] = true end
for _, line in ipairs(in_order(q)) do
  if line.priority == 'high' and not has[line.run] then promise(line) end
end
return cjson.encode({sent = sent, asked = asked})

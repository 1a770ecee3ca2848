-- Say of runs why they wait, and in which place: what dispatch goes by, without doing it. It writes nothing.
-- ARGV: run ids. Returns JSON: for each that waits its id, place, why, and what about.
local q = opened(clock())
find_workers(q)

-- Heads are looked at without mending what is wrong with them.
local waits = {}
for id, line in pairs(q.lines) do
  local first = redis.call('ZRANGE', K.LINE .. id, 0, 0, 'WITHSCORES')
  line.length = redis.call('ZCARD', K.LINE .. id)
  if first[1] then
    local ageing = number(q.policy.ageing_seconds)
    local since = math.max(number(fields(first[1], 'since')[1]), number(q.served[id]))
    local risen = math.max(math.floor((q.now - since) / 1000 / (ageing > 0 and ageing or 600)), 0)
    line.at, line.rank = number(first[2]), math.min(RANK[line.priority] + risen, RANK.high)
    table.insert(waits, line)
  end
end

local function why(line)
  local word, about = barred(q, line)
  if word then return word, about end
  local least, host, free = nil, nil, false
  for _, worker in pairs(q.workers) do
    local found = lacking(worker, line)
    if #found == 0 then
      if drained(q, worker) then host = worker.host else free = true end
    end
    if not least or #found < #least then least = found end
  end
  if not least then return 'no_workers', '' end
  if #least > 0 then return 'nobody', table.concat(least, ' and ') end
  if not free then return 'draining', host end
  return 'busy', ''
end

-- How many of another user's runs go before one that has `before` of its own user's before it: as many as he gets until this user has had as much.
local function turns(line, at, before, user, theirs)
  local target = number(q.pass[line.user]) + before * q.estimate / weight(q, line.user)
  local behind = (target - number(q.pass[user])) * weight(q, user) / q.estimate
  local found = behind == math.floor(behind) and theirs.at < at and behind + 1 or math.ceil(behind)
  return math.max(math.min(found, theirs.length), 0)
end

-- One behind those that dispatch would probably take before: all of higher priority, of its own user those that are older, of others their share.
local function place(run, line, at)
  local higher, before, others = 0, number(redis.call('ZRANK', K.LINE .. line.id, run)), {}
  for _, other in ipairs(waits) do
    if other == line or other.rank < line.rank or (other.user ~= line.user and barred(q, other)) then
      -- It doesn't go before, or is counted already.
    elseif other.rank > line.rank then
      higher = higher + other.length
    elseif other.user == line.user then
      before = before + redis.call('ZCOUNT', K.LINE .. other.id, '-inf', '(' .. at)
    else
      local theirs = others[other.user] or {length = 0, at = other.at}
      others[other.user] = {length = theirs.length + other.length, at = math.min(theirs.at, other.at)}
    end
  end
  local found = higher + before
  for user, theirs in pairs(others) do found = found + turns(line, number(at), before, user, theirs) end
  return found + 1
end

local answer = {}
for _, run in ipairs(ARGV) do
  local at = redis.call('ZSCORE', K.PENDING, run)
  local line = at and q.lines[fields(run, 'line')[1] or '']
  if line and line.rank then
    local word, about = why(line)
    table.insert(answer, {run, place(run, line, at), word, about})
  end
end
return cjson.encode(answer)

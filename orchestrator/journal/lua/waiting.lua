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
    local since, needs = unpack(fields(first[1], 'since', 'needs'), 1, 2)
    line.at, line.rank, line.needs = number(first[2]), rank_of(q, line, since), needs
    line.barred, line.about = barred(q, line)
    table.insert(waits, line)
  end
end

local function why(line)
  local least, host, free = nil, nil, false
  for _, worker in pairs(q.workers) do
    local found = lacking(worker, line)
    if #found == 0 then
      if drained(q, worker) then host = worker.host else free = true end
    end
    if not least or #found < #least then least = found end
  end
  -- First what no time mends: while a limit is reached, nobody would look for a worker with what is lacking.
  if least and #least > 0 then return 'nobody', table.concat(least, ' and ') end
  if line.barred then return line.barred, line.about end
  if not least then return 'no_workers', '' end
  if not free then return 'draining', host end
  return 'busy', ''
end

-- What a user will have had once so many more of his runs went.
local function pass_after(user, runs) return number(q.pass[user]) + runs * q.estimate / weight(q, user) end

-- One behind those that dispatch would probably take before: all of higher priority; of its own user those that are older; of each other user as
-- many as he gets until this one's user has had as much.
local function place(run, line, at)
  local before, found, higher, others = number(redis.call('ZRANK', K.LINE .. line.id, run)), 0, {}, {}
  for _, other in ipairs(waits) do
    if other == line or other.rank < line.rank or (other.user ~= line.user and other.barred) then
      -- It doesn't go before, or is counted already.
    elseif other.rank > line.rank then
      found, higher[other.user] = found + other.length, (higher[other.user] or 0) + other.length
    elseif other.user == line.user then
      before = before + redis.call('ZCOUNT', K.LINE .. other.id, '-inf', '(' .. at)
    else
      local theirs = others[other.user] or {length = 0, at = other.at}
      others[other.user] = {length = theirs.length + other.length, at = math.min(theirs.at, other.at)}
    end
  end
  local target = pass_after(line.user, (higher[line.user] or 0) + before)
  for user, theirs in pairs(others) do
    local turns = (target - pass_after(user, higher[user] or 0)) * weight(q, user) / q.estimate
    if turns == math.floor(turns) and theirs.at < number(at) then turns = turns + 1 end
    found = found + math.max(math.min(math.ceil(turns), theirs.length), 0)
  end
  return found + before + 1
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

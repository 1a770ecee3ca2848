-- The queue: who waits in which line, who is under way, and who goes next. Put in front of every script that touches it, behind a table K of
-- the names in keys.py. Whatever is asked of the queue is answered by these functions, so that what `ps` says and what dispatch does can't
-- differ. Nothing here walks over the runs that wait: only over lines (runs that ask for the same), their heads, workers, and what is under way.
local RANK = {low = 0, normal = 1, high = 2}
local ALIVE_MS = 8000 -- As long as a presence lasts: who has said nothing for so long is dead.
local FRESH_MS = 3000 -- Who lives has said so within that: a beat and a half.
local AGAIN_MS = 10000 -- Whoever was to ask an attempt to stop may have been killed before: it's said again.
local FIRST_ESTIMATE_S = 60
local REMEMBERED = 20 -- Attempts that the mean of their seconds is of, at most.

local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The UTC day of a time in ms, as YYYY-MM-DD. Redis's Lua has no calendar: this is the usual count of days in years that begin in March.
local function day(ms)
  local days = math.floor(ms / 86400000) + 719468
  local era = math.floor(days / 146097)
  local of_era = days - era * 146097
  local year = math.floor((of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524) - math.floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local month = math.floor((5 * of_year + 2) / 153)
  local of_month = of_year - math.floor((153 * month + 2) / 5) + 1
  month = month < 10 and month + 3 or month - 9
  return string.format('%04d-%02d-%02d', year + era * 400 + (month <= 2 and 1 or 0), month, of_month)
end

-- What is no number, or none that can be reckoned with (nan, inf), is 0: no script may end half-way on what somebody else has written.
local function number(value)
  local found = tonumber(value)
  return found and found - found == 0 and found or 0
end

local function object(value) return type(value) == 'table' and value or {} end

-- JSON of an object. What is none is nothing: somebody's garbage mustn't stop the others.
local function parsed(text)
  local ok, found = pcall(cjson.decode, text or '')
  return ok and type(found) == 'table' and found or nil
end

local function hash(key)
  local flat, found = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return found
end

-- Fields of a run's record; none of one that is gone, or no record.
local function fields(run, ...)
  local found = redis.pcall('HMGET', K.RUN .. run, ...)
  return found.err and {} or found
end

-- Shares ---------------------------------------------------------------------------------------------------------------------------------

local function share(q, user) return object(object(q.policy.users)[user] or q.policy.user) end

local function weight(q, user)
  local found = number(share(q, user).weight)
  return found > 0 and found or 1
end

local function team_of(q, user)
  local team = share(q, user).team
  return type(team) == 'string' and team or ''
end

local function team_share(q, team) return object(object(q.policy.teams)[team]) end

local function count(q, one, by)
  local team = team_of(q, one.user)
  q.users[one.user] = (q.users[one.user] or 0) + by
  q.teams[team] = (q.teams[team] or 0) + by
  q.repos[one.repo] = (q.repos[one.repo] or 0) + by
end

local function reached(limit, found) return number(limit) > 0 and number(found) >= number(limit) end

-- Whose budget for today is used up: the user's or the team's name, or nothing.
local function used_up(q, user)
  if reached(share(q, user).usd_per_day, q.spent['user:' .. user]) then return user end
  local team = team_of(q, user)
  if team ~= '' and reached(team_share(q, team).usd_per_day, q.spent['team:' .. team]) then return team end
end

-- What runs under way have put aside for replies that they are asking for, by user and team as what is spent.
local function find_reserved(q)
  q.reserved = {}
  for _, text in pairs(hash(K.RESERVED)) do
    local one = parsed(text)
    if one and type(one.user) == 'string' then
      local sum, team = 0, team_of(q, one.user)
      for _, dollars in pairs(object(one.held)) do sum = sum + math.max(number(dollars), 0) end
      for _, name in ipairs({'user:' .. one.user, team ~= '' and 'team:' .. team or nil}) do
        q.reserved[name] = number(q.reserved[name]) + sum
      end
    end
  end
end

-- What is left for today of a user's budget, or his team's, the smaller one, and whose that is; nothing where neither has one.
local function left_of(q, user)
  local team, least, whose = team_of(q, user), nil, nil
  local function look(limit, kind, name)
    if number(limit) <= 0 then return end
    local left = number(limit) - number(q.spent[kind .. name]) - number(q.reserved[kind .. name])
    if not least or left < least then least, whose = left, name end
  end
  look(share(q, user).usd_per_day, 'user:', user)
  if team ~= '' then look(team_share(q, team).usd_per_day, 'team:', team) end
  return least, whose
end

-- Who hasn't enough left for a reply of a run that was refused one, or for anybody's.
local function too_little(q, user, needs)
  local left, whose = left_of(q, user)
  if left and (left <= 0 or left < number(needs)) then return whose end
end

-- Why nobody of a line may go now, whatever worker is free: a word and a name, or nothing.
local function barred(q, line)
  if q.switches.paused then return 'paused', q.switches.paused end
  if q.switches['drain:'] then return 'draining', '' end
  local user, team = line.user, team_of(q, line.user)
  local whose = used_up(q, user) or too_little(q, user, line.needs)
  if whose then return 'budget', whose end
  if reached(share(q, user).runs, q.users[user]) then return 'user_runs', user end
  if team ~= '' and reached(team_share(q, team).runs, q.teams[team]) then return 'team_runs', team end
  if reached(q.policy.repo_runs, q.repos[line.repo]) then return 'repo_runs', line.name or line.repo end
end

local function policy()
  local text = redis.pcall('GET', K.POLICY)
  return type(text) == 'string' and parsed(text) or {}
end

-- What is known of the queue at this moment, but for its workers and the heads of its lines.
local function opened(now)
  local q = {now = now, users = {}, teams = {}, repos = {}, held = {}, lines = {}}
  q.policy, q.switches = policy(), hash(K.QUEUE)
  q.pass, q.spent, q.served = hash(K.PASSES), hash(K.SPENT .. day(now)), hash(K.SERVED)
  find_reserved(q)
  q.estimate = number(redis.call('HGET', K.ESTIMATE, 'seconds'))
  if q.estimate <= 0 then q.estimate = FIRST_ESTIMATE_S end
  for run, text in pairs(hash(K.HELD)) do
    local one = parsed(text)
    if one and type(one.user) == 'string' and type(one.repo) == 'string' then
      q.held[run] = one
      count(q, one, 1)
    end
  end
  for id, text in pairs(hash(K.LINES)) do
    local line = parsed(text)
    if line and type(line.user) == 'string' and type(line.repo) == 'string' and RANK[line.priority] then
      line.id, line.requires, q.lines[id] = id, object(line.requires), line
    end
  end
  return q
end

-- Lines ----------------------------------------------------------------------------------------------------------------------------------

-- A user of whom nobody waits begins no earlier than those who wait for a worker now, else no earlier than those who have one: time in which he
-- asked for nothing is no credit, or he would have everything for as long. Who may not go anyway (a limit is reached) is no measure. Where
-- nobody waits or is under way, all begin anew.
local function welcome(user, now)
  local q, least, most = opened(now), nil, nil
  for _, line in pairs(q.lines) do
    if line.user == user then return end
    if not barred(q, line) then least = math.min(least or math.huge, number(q.pass[line.user])) end
  end
  for _, one in pairs(q.held) do most = math.max(most or 0, number(q.pass[one.user])) end
  if not least and not most then
    redis.call('DEL', K.PASSES)
  elseif number(q.pass[user]) < (least or most) then
    redis.call('HSET', K.PASSES, user, least or most)
  end
end

-- Take a run out of its line, and a line away that nobody is in any more.
local function leave(run)
  redis.call('ZREM', K.PENDING, run)
  local id = fields(run, 'line')[1]
  if not id then return end
  redis.call('ZREM', K.LINE .. id, run)
  if redis.call('EXISTS', K.LINE .. id) == 0 then
    redis.call('HDEL', K.LINES, id)
    redis.call('HDEL', K.SERVED, id)
  end
end

-- Put a run in line, in front of all that were submitted later, and wake the keepers. Its waiting counts from now: else one that was just
-- pre-empted would be of the highest priority by its age, and take its worker back. One of an older version, which knew no lines, is left to a
-- keeper.
local function enter(run, now)
  local asks, format = unpack(fields(run, 'asks', 'format'), 1, 2)
  local at = redis.call('ZSCORE', K.RUNS, run) or now
  local told = parsed(asks)
  if told and type(told.user) == 'string' then
    welcome(told.user, now)
    local id = redis.sha1hex(asks .. number(format)):sub(1, 16)
    redis.call('HSET', K.LINES, id, asks:sub(1, -2) .. ',"format":' .. number(format) .. '}')
    redis.call('ZADD', K.LINE .. id, at, run)
    redis.call('HSET', K.RUN .. run, 'line', id, 'since', now)
  end
  redis.call('ZADD', K.PENDING, at, run)
  redis.call('PUBLISH', K.NUDGE, '')
end

-- Where it stands when age alone let a run of a user and priority go first: one at a time, or whoever asks for something else with each run,
-- and so has a line for each, would always be in front.
local function favoured(line) return line.priority .. ' ' .. line.user end

-- A line's priority, raised by how long it has waited unserved. `since` is when its head was put there.
local function rank_of(q, line, since)
  local ageing = number(q.policy.ageing_seconds)
  local waited = math.max(q.now - math.max(number(since), number(q.served[line.id]), number(q.served[favoured(line)])), 0)
  return math.min(RANK[line.priority] + math.floor(waited / 1000 / (ageing > 0 and ageing or 600)), RANK.high)
end

-- The first run of a line that can go, as line.run, with what makes its place among others: line.at (when it was submitted), line.since and line.rank. One that isn't pending, or whose record is damaged, is put out of the line.
local function find_head(q, line)
  while true do
    local first = redis.call('ZRANGE', K.LINE .. line.id, 0, 0, 'WITHSCORES')
    line.run, line.at = first[1], number(first[2])
    if not line.run then
      redis.call('HDEL', K.LINES, line.id)
      redis.call('HDEL', K.SERVED, line.id)
      q.lines[line.id] = nil
      return
    end
    local state, attempt, since, needs = unpack(fields(line.run, 'state', 'attempt', 'since', 'needs'), 1, 4)
    attempt = tonumber(attempt)
    if state == 'queued' and attempt and attempt >= 1 and attempt < 1000000 and redis.call('ZSCORE', K.PENDING, line.run) then
      line.attempt = line.run .. '-a' .. string.format('%d', attempt)
      line.since, line.rank, line.needs = since, rank_of(q, line, since), needs
      return
    end
    redis.call('ZREM', K.LINE .. line.id, line.run)
  end
end

-- Workers --------------------------------------------------------------------------------------------------------------------------------

-- Whether who said so then lives now. A clock may have gone back: a primary that took over has its own, and the dead would live for as long.
local function lives(now, seen) return math.abs(now - seen) <= ALIVE_MS end

-- Those that live. What they offer is read when somebody asks: of hundreds of workers that are all busy it never is.
local function find_workers(q)
  q.busy, q.workers = hash(K.BUSY), {}
  for name, text in pairs(hash(K.WORKERS)) do
    local seen = tonumber(text:match('^{"seen":(%d+)'))
    if seen and lives(q.now, seen) then
      q.workers[name] = {name = name, text = text, fresh = q.now - seen <= FRESH_MS, free = not q.busy[name], lacking = {}}
    end
  end
end

local function offer_of(worker)
  if not worker.offer then
    local told = parsed(worker.text) or {}
    local offer = type(told.offer) == 'table' and told.offer or {}
    worker.extras = number(offer.gpus) + #object(offer.labels)
    for _, kind in ipairs({'labels', 'images', 'stores'}) do
      local words = {}
      for _, word in ipairs(object(offer[kind])) do words[word] = true end
      offer[kind] = words
    end
    worker.keys = {}
    for _, family in ipairs(object(told.models)) do worker.keys[family] = true end
    worker.offer, worker.host, worker.host_id = offer, told.host or '', told.host_id or ''
  end
  return worker.offer
end

local function drained(q, worker)
  offer_of(worker)
  local switches = q.switches
  return switches['drain:'] or switches['drain:' .. worker.host] or (worker.host_id ~= '' and switches['drain:' .. worker.host_id])
end

-- What a worker doesn't have of what a line asks for, in words.
local function lacking(worker, line)
  if worker.lacking[line.id] then return worker.lacking[line.id] end
  local offer, asks, found = offer_of(worker), line.requires, {}
  if number(offer.format) < number(line.format) then table.insert(found, 'a newer version') end
  if number(offer.memory_mb) < number(asks.memory_mb) then table.insert(found, number(asks.memory_mb) .. ' MB of memory') end
  if number(offer.cpus) < number(asks.cpus) then table.insert(found, number(asks.cpus) .. ' cpus') end
  if number(offer.gpus) < number(asks.gpus) then table.insert(found, number(asks.gpus) .. ' gpus') end
  for _, label in ipairs(object(asks.labels)) do
    if not offer.labels[label] then table.insert(found, 'label ' .. tostring(label)) end
  end
  for _, family in ipairs(object(asks.keys)) do
    if not worker.keys[family] then table.insert(found, 'a key for ' .. tostring(family)) end
  end
  if (asks.image or '') ~= '' and not offer.images[asks.image] then table.insert(found, 'image ' .. tostring(asks.image)) end
  if asks.store == 'remote' and not offer.stores.remote then
    table.insert(found, 'a checkpoint remote')
  elseif (asks.store or '') ~= '' and not offer.stores[asks.store] then
    table.insert(found, (line.host or '') ~= '' and 'the store of host ' .. tostring(line.host) or 'the store that it was submitted into')
  end
  worker.lacking[line.id] = found
  return found
end

local function fits(q, worker, line) return #lacking(worker, line) == 0 and not drained(q, worker) end

-- Whether to take one free worker rather than another: first one that has just said that it lives, then one that has nothing special, which is
-- kept for those who ask for it.
local function better(one, other)
  if one.fresh ~= other.fresh then return one.fresh end
  if one.extras ~= other.extras then return one.extras < other.extras end
  return one.name < other.name
end

local function seat(q, line)
  local best
  for _, worker in pairs(q.workers) do
    if worker.free and fits(q, worker, line) and (not best or better(worker, best)) then best = worker end
  end
  return best
end

-- The choice -----------------------------------------------------------------------------------------------------------------------------

-- The lines whose heads may go, the next one first: by priority, then by what their users have had, then by age.
local function in_order(q)
  local found = {}
  for _, line in pairs(q.lines) do
    if line.run and not barred(q, line) then table.insert(found, line) end
  end
  table.sort(found, function(one, other)
    if one.rank ~= other.rank then return one.rank > other.rank end
    local ones, others = number(q.pass[one.user]), number(q.pass[other.user])
    if ones ~= others then return ones < others end
    if one.at ~= other.at then return one.at < other.at end
    return one.run < other.run
  end)
  return found
end

-- Give a line's head to a worker: from now on it's under way, and its user is charged for what an attempt takes on average.
local function give(q, line, worker)
  local run, cost = line.run, q.estimate / weight(q, line.user)
  local held = {user = line.user, team = team_of(q, line.user), repo = line.repo, name = line.name or '', priority = line.priority,
                attempt = line.attempt, since = q.now, worker = worker.name, estimate = q.estimate, weight = weight(q, line.user)}
  leave(run)
  redis.call('HDEL', K.RUN .. run, 'needs')
  redis.call('HSET', K.HELD, run, cjson.encode(held))
  redis.call('HSET', K.BUSY, worker.name, line.attempt)
  redis.call('HSET', K.PASSES, line.user, number(q.pass[line.user]) + cost)
  if redis.call('HEXISTS', K.LINES, line.id) == 1 then redis.call('HSET', K.SERVED, line.id, q.now) end
  if line.rank > RANK[line.priority] then
    redis.call('HSET', K.SERVED, favoured(line), q.now)
    q.served[favoured(line)] = q.now
    for _, other in pairs(q.lines) do
      if other.run and favoured(other) == favoured(line) then other.rank = rank_of(q, other, other.since) end
    end
  end
  q.held[run], q.served[line.id], q.pass[line.user] = held, q.now, number(q.pass[line.user]) + cost
  worker.free = false
  count(q, held, 1)
end

-- A run is under way no more: charge its user for the seconds that it really took, and learn from them; nothing where `unused` is told.
local function settle(run, now, unused)
  local held = parsed(redis.call('HGET', K.HELD, run))
  redis.call('HDEL', K.HELD, run)
  redis.call('HDEL', K.RESERVED, run)
  if not held or type(held.user) ~= 'string' then return end
  local seconds = unused and 0 or math.max(now - number(held.since), 0) / 1000
  local pass = redis.call('HGET', K.PASSES, held.user)
  if pass then
    local real = number(pass) + (seconds - number(held.estimate)) / math.max(number(held.weight), 0.001)
    redis.call('HSET', K.PASSES, held.user, math.max(real, 0))
  end
  if unused then return end
  local runs = math.min(number(redis.call('HGET', K.ESTIMATE, 'runs')) + 1, REMEMBERED)
  local mean = number(redis.call('HGET', K.ESTIMATE, 'seconds'))
  redis.call('HSET', K.ESTIMATE, 'runs', runs, 'seconds', mean + (seconds - mean) / runs)
end

-- Give back what a run has put aside under some names, joined by commas.
local function release(run, names)
  local one = parsed(redis.call('HGET', K.RESERVED, run))
  if not one then return end
  one.held = object(one.held)
  for name in names:gmatch('[^,]+') do one.held[name] = nil end
  if next(one.held) then redis.call('HSET', K.RESERVED, run, cjson.encode(one)) else redis.call('HDEL', K.RESERVED, run) end
end

local function add(key, name, dollars)
  if redis.pcall('HINCRBYFLOAT', key, name, dollars).err then redis.pcall('HSET', key, name, dollars) end
end

-- Count what a run's replies cost against its user's day, and his team's. What stands there and is no sum is begun anew.
local function spend(run, dollars, now)
  local user = fields(run, 'user')[1]
  if not user then return end
  local key, team = K.SPENT .. day(now), team_of({policy = policy()}, user)
  add(key, 'user:' .. user, dollars)
  if team ~= '' then add(key, 'team:' .. team, dollars) end
  redis.call('EXPIRE', key, 3 * 86400)
end

-- Say of a project's dream that it has begun, or how it went; nothing of one that isn't the project's last, or isn't under way.
-- ARGV: project, the job's id, state, host ('' leaves it), why, and whether this try counts ('0': it was asked to stop, and isn't to blame).
local project, job, state, host, why, counts = unpack(ARGV)
local last = parsed(redis.call('HGET', K.DREAMS, project))
if not last or last.job ~= job or last.state ~= (state == 'running' and 'queued' or 'running') then return 'STALE' end
last.state, last.changed, last.why, last.missed = state, clock(), why, nil
if host ~= '' then last.host = host end
if counts == '0' then last.tries = math.max(number(last.tries) - 1, 0) end
redis.call('HSET', K.DREAMS, project, cjson.encode(last))
return 'OK'

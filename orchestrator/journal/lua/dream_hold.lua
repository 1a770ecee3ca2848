-- Take the right to change a project's library, or renew it: it's nobody else's until its lease runs out.
-- ARGV: project, token, host, lease (ms), and whether it's to be had already ('1'): then it isn't taken again where it was lost.
-- Returns OK, LOST, or as JSON who has it, with the seconds since when.
local project, token, host, lease, renew = unpack(ARGV)
local now, one = clock(), parsed(redis.call('HGET', K.DREAMING, project))
local ours = one and one.token == token
if renew == '1' and not ours then return 'LOST' end
if one and not ours and number(one['until']) > now then
  return cjson.encode({host = tostring(one.host), seconds = math.max(now - number(one.since), 0) / 1000})
end
local since = ours and number(one.since) or now
redis.call('HSET', K.DREAMING, project, cjson.encode({token = token, host = host, since = since, ['until'] = now + lease}))
return 'OK'

-- Note until when a project's runs were looked at: only ever forward.
-- ARGV: project, until (ms).
if tonumber(ARGV[2]) > number(redis.call('HGET', K.DREAMT, ARGV[1])) then redis.call('HSET', K.DREAMT, ARGV[1], ARGV[2]) end
return 'OK'

-- Give back the right to change a project's library; whoever has another token has lost it, and gives back nothing.
-- ARGV: project, token.
local one = parsed(redis.call('HGET', K.DREAMING, ARGV[1]))
if one and one.token == ARGV[2] then redis.call('HDEL', K.DREAMING, ARGV[1]) end
return 'OK'

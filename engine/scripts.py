"""What Redis runs for sessions and slots, each in one piece: Lua, told apart from the Python that sends it.

Keys are a call's hash (`call:{sid}`) and the sorted set of slots, as `engine/session.py` describes them.
"""

TAKE = """
local stored = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0')
local epoch = math.max(stored, tonumber(ARGV[1])) + 1
redis.call('HSET', KEYS[1], 'epoch', epoch)
redis.call('HINCRBY', KEYS[1], 'writes', 1)
redis.call('EXPIRE', KEYS[1], ARGV[2])
return {epoch, redis.call('HGETALL', KEYS[1])}
"""

# Of one epoch, a write that comes after a later one (Redis hung, and reads its connections in any order) changes
# nothing, and neither does one that is sent again. One that builds on what is not there is not written, or the session
# would be taken for whole.
WRITE = """
local stored = redis.call('HMGET', KEYS[1], 'epoch', 'writes')
local epoch, writes = tonumber(stored[1] or '0'), tonumber(stored[2] or '0')
if epoch > tonumber(ARGV[1]) then return 'fenced' end
if epoch < tonumber(ARGV[1]) then writes = 0 end
if writes < tonumber(ARGV[3]) then return 'lost' end
if writes >= tonumber(ARGV[2]) then return 'ok' end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1], 'writes', ARGV[2], unpack(ARGV, 5))
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 'ok'
"""

_NOW = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
"""

# The slot waits for the stream as long as the token does.
_GIVE_TOKEN = """
local older = redis.call('HGET', KEYS[2], 'token')
if older then redis.call('DEL', 'token:' .. older) end
redis.call('HSET', KEYS[2], 'token', ARGV[2])
redis.call('EXPIRE', KEYS[2], ARGV[3])
redis.call('SET', 'token:' .. ARGV[2], ARGV[1], 'EX', ARGV[4])
redis.call('ZADD', KEYS[1], 'GT', now + ARGV[4], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""

TOKEN = _NOW + _GIVE_TOKEN

# A webhook that is sent again finds its call's slot.
RING = (
    _NOW
    + """
if redis.call('EXISTS', KEYS[4]) == 1 then return 'gone' end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  if redis.call('EXISTS', KEYS[3]) == 1 then return 'draining' end
  if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[6]) then return 'full' end
end
redis.call('HSET', KEYS[2], 'info', ARGV[5])
"""
    + _GIVE_TOKEN
)

LIVE = (
    _NOW
    + """
redis.call('ZADD', KEYS[1], now + ARGV[4], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('HDEL', KEYS[2], 'token', 'asked')
redis.call('HSET', KEYS[2], 'where_stream', ARGV[2], 'where', ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[5])
"""
)

# Not shortened: the call may have a newer token, whose stream is to come. Tells how long the calls may still go on, if
# the app is being stopped ('': it is not), and which of them Redis does not know to be live.
RENEW = (
    _NOW
    + """
local answer = {''}
for n = 3, #ARGV do
  redis.call('ZADD', KEYS[1], 'GT', now + ARGV[1], ARGV[n])
  if redis.call('HEXISTS', 'call:' .. ARGV[n], 'where_stream') == 0 then table.insert(answer, ARGV[n]) end
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
local drained_at = redis.call('GET', KEYS[2])
if drained_at then answer[1] = tostring(math.max(0, drained_at - now)) end
return answer
"""
)

TAKEN = _NOW + "return redis.call('ZRANGE', KEYS[1], now, '+inf', 'BYSCORE')"

# No stream comes of this token ("": of any). A stream that the call still has gives the slot back, or it expires.
NOT_COMING = (
    _NOW
    + """
local token = redis.call('HGET', KEYS[2], 'token')
if not token or (ARGV[2] ~= '' and ARGV[2] ~= token) then return end
redis.call('HDEL', KEYS[2], 'token')
if redis.call('HEXISTS', KEYS[2], 'where_stream') == 1 then
  redis.call('ZADD', KEYS[1], 'XX', 'LT', now + ARGV[3], ARGV[1])
else
  redis.call('ZREM', KEYS[1], ARGV[1])
end
"""
)

# The call has ended, perhaps while `incoming` is answered: it may be told before the slot is taken.
HUNG_UP = "redis.call('SET', KEYS[3], 1, 'EX', ARGV[4])\n" + NOT_COMING

# A webhook that is sent again tells of a break that has been counted.
BROKE = """
local times = tonumber(redis.call('HGET', KEYS[1], 'broken_times') or '0')
if tonumber(ARGV[2]) < times then return times end
redis.call('HSET', KEYS[1], 'broken_at', ARGV[1], 'broken_times', times + 1)
redis.call('EXPIRE', KEYS[1], ARGV[3])
return times + 1
"""

# What comes next, unless that has been decided.
UNDECIDED = """
local decided = redis.call('HGET', KEYS[1], 'next')
if not decided or decided == '' then redis.call('HSET', KEYS[1], 'next', ARGV[1]) end
redis.call('EXPIRE', KEYS[1], ARGV[2])
"""

# The news of a stream whose call has gone on in a new one is no longer the call's.
MOVED = """
if redis.call('HGET', KEYS[1], 'where_stream') ~= ARGV[1] then return end
redis.call('HSET', KEYS[1], 'where', ARGV[2])
"""

OVER = (
    _NOW
    + """
local stream = redis.call('HGET', KEYS[2], 'where_stream')
if stream and stream ~= ARGV[1] then return end
redis.call('HDEL', KEYS[2], 'where', 'where_stream')
if redis.call('HEXISTS', KEYS[2], 'asked') == 0 then
  redis.call('ZADD', KEYS[3], now + ARGV[3], ARGV[2])
  redis.call('EXPIRE', KEYS[3], ARGV[3])
end
if redis.call('HEXISTS', KEYS[2], 'token') == 0 then redis.call('ZREM', KEYS[1], ARGV[2]) end
"""
)

# Twilio asks when the socket is closed, perhaps before the stream is over.
ASKED = """
redis.call('ZREM', KEYS[1], ARGV[1])
if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('HSET', KEYS[2], 'asked', 1) end
"""

# The app is being stopped: no call is taken any more, and those that run end by then.
DRAIN = (
    _NOW
    + """
redis.call('SET', KEYS[1], now + ARGV[1], 'EX', ARGV[2])
"""
)

# The calls that the app is still needed for: those with a slot, and those of which Twilio has a question.
UNDER_WAY = (
    _NOW
    + """
return {
  redis.call('ZRANGE', KEYS[1], now, '+inf', 'BYSCORE'),
  redis.call('ZRANGE', KEYS[2], now, '+inf', 'BYSCORE'),
}
"""
)

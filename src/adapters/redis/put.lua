-- Takes one event in: into the user's series, and as the newest of the user and of the device unless a newer one is
-- there. In whatever order events come, and however often, the end is the same.
--
-- KEYS  the user's newest event, the device's newest, the series, the records of the series, the record's deletion
-- ARGV  event id and record id as they stand in JSON, version as 20 digits, timestamp and time of arrival with
--       milliseconds and without `Z`, score, the series' member (empty: a deletion), the event, seconds that newest
--       events live, length of the series
--
-- A key of another type than ours is removed. What is no event of ours counts as absent.

local series, records, deletion = KEYS[3], KEYS[4], KEYS[5]
local event_id, record_id, version, timestamp, received_at = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local score, member, value, ttl_s, series_max = ARGV[6], ARGV[7], ARGV[8], ARGV[9], tonumber(ARGV[10])

-- Ids of 128 bytes each, every one of them escaped, stand before the times.
local HEAD_BYTES = 2048
-- Members that one call removes beyond the one that it adds: a lower limit is reached gently.
local TRIM_MAX = 4
-- Members of one moment that are searched for a record's older version.
local SAME_MOMENT_MAX = 64

local HEAD = '^{"event_id":"(.-)","record_id":"(.-)","version":%-?%d+,"device_type":"[%l_]+","user_id":".-",'
    .. '"timestamp":"(.-)Z","received_at":"(.-)Z"'

local function read(command, key, ...)
    local answer = redis.pcall(command, key, ...)
    if type(answer) == 'table' and answer.err then
        if string.find(answer.err, 'WRONGTYPE', 1, true) then
            redis.call('UNLINK', key)
        end
        return redis.call(command, key, ...)
    end
    return answer
end

-- Times compare as text once all of them have milliseconds.
local function with_ms(text)
    local whole, fraction = string.match(text, '^(%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d)%.?(%d*)$')
    return whole and whole .. '.' .. string.sub(fraction .. '000', 1, 3)
end

-- The event under `key`, if it is one of ours: its id, its record and its times. Ours always end.
local function newest(key)
    local held_id, held_record, at, arrived = string.match(read('GETRANGE', key, 0, HEAD_BYTES - 1), HEAD)
    at, arrived = at and with_ms(at), arrived and with_ms(arrived)
    if at and arrived and redis.call('PTTL', key) >= 0 then
        return held_id, held_record, at, arrived
    end
end

local function id_of(held)
    return string.match(held, '^{"event_id":"(.-)","timestamp":"')
end

-- What is known of a record: the version that is in the series, its score and its event's id.
local function split(known)
    local held_version, held_score, held_id = string.match(known or '', '^(%d+) (%-?[%d.]+) (.+)$')
    if held_version and #held_version == #version and tonumber(held_score) then
        return held_version, held_score, held_id
    end
end

local deleted = read('GET', deletion)
if deleted and string.match(deleted, '^%d+$') and #deleted == #version and deleted >= version then
    return 0
end
local held_version, held_score, held_id = split(read('HGET', records, 'r:' .. record_id))
if held_version and held_version > version then
    return 0
end

-- The record's older version leaves, or the same one if it was written in another way.
read('ZCARD', series)
if held_id then
    local same_moment = redis.call('ZRANGEBYSCORE', series, held_score, held_score, 'LIMIT', 0, SAME_MOMENT_MAX)
    for _, held in ipairs(same_moment) do
        if id_of(held) == held_id and held ~= member then
            redis.call('ZREM', series, held)
        end
    end
    redis.call('HDEL', records, 'e:' .. held_id)
end

if member == '' then
    redis.call('HDEL', records, 'r:' .. record_id)
    for place = 1, 2 do
        local _, held_record = newest(KEYS[place])
        if held_record == record_id then
            redis.call('UNLINK', KEYS[place])
        end
    end
    redis.call('SET', deletion, version, 'EX', ttl_s)
    return 1
end

for place = 1, 2 do
    local id, record, at, arrived = newest(KEYS[place])
    local is_newer = id and record ~= record_id
        and (at > timestamp or at == timestamp and (arrived > received_at or arrived == received_at and id > event_id))
    if not is_newer then
        redis.call('SET', KEYS[place], value, 'EX', ttl_s)
    end
end

redis.call('ZADD', series, score, member)
redis.call('HSET', records, 'r:' .. record_id, version .. ' ' .. score .. ' ' .. event_id, 'e:' .. event_id, record_id)
local extra = redis.call('ZCARD', series) - series_max
if extra > 0 then
    local removed = redis.call('ZPOPMIN', series, math.min(extra, 1 + TRIM_MAX))
    for place = 1, #removed, 2 do
        local id = id_of(removed[place])
        local record = id and redis.call('HGET', records, 'e:' .. id)
        if record then
            redis.call('HDEL', records, 'e:' .. id)
            local _, _, of_record = split(redis.call('HGET', records, 'r:' .. record))
            if of_record == id then
                redis.call('HDEL', records, 'r:' .. record)
            end
        end
    end
end
return 1

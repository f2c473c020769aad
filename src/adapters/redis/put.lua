-- Takes one event in: into the user's series, and as the newest of the user and of the device unless a newer one is
-- there. In whatever order events come, and however often, the end is the same.
--
-- KEYS  the user's newest event, the device's newest, the series, what is known of the series and of both newest
-- ARGV  event id and record id as they stand in JSON, version as 20 digits, newness (timestamp and time of arrival with
--       milliseconds and without `Z`, event id), score, the series' member (empty: a deletion), the event, seconds that
--       newest events live, length of the series, device
--
-- The fourth key is a hash. `r:` and a record's id: the version in the series, its score and its event's id. `e:` and
-- an event's id: its record. `l` and `l:` with a device: a newness that the newest event does not exceed; what is
-- above it needs no look at the event. `d`: the last deletions.
--
-- A key of another type than ours is removed. What is no event of ours counts as absent.

local series, known = KEYS[3], KEYS[4]
local event_id, record_id, version, newness, score = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local member, value, ttl_s, series_max, device = ARGV[6], ARGV[7], ARGV[8], tonumber(ARGV[9]), ARGV[10]

-- Ids of 128 bytes each, every one of them escaped, stand before the times.
local HEAD_BYTES = 2048
-- Members that one call removes beyond the one that it adds: a lower limit is reached gently.
local TRIM_MAX = 4
-- Members of one moment that are searched for a record's older version.
local SAME_MOMENT_MAX = 64
-- Deletions that are remembered, so that what is late does not come back.
local DELETIONS_MAX = 16

local HEAD = '^{"event_id":"(.-)","record_id":"(.-)","version":%-?%d+,"device_type":"[%l_]+","user_id":".-",'
    .. '"timestamp":"(.-)Z","received_at":"(.-)Z"'

local function ask(command, key, ...)
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

-- The record and the newness of the event under `key`, if it is one of ours. Ours always end.
local function newest(key)
    local held_id, held_record, at, arrived = string.match(ask('GETRANGE', key, 0, HEAD_BYTES - 1), HEAD)
    at, arrived = at and with_ms(at), arrived and with_ms(arrived)
    if at and arrived and redis.call('PTTL', key) >= 0 then
        return held_record, at .. ' ' .. arrived .. ' ' .. held_id
    end
end

local function id_of(held)
    return string.match(held, '^{"event_id":"(.-)","timestamp":"')
end

local function split(record)
    local held_version, held_score, held_id = string.match(record or '', '^(%d+) (%-?[%d.]+) (.+)$')
    if held_version and #held_version == #version and tonumber(held_score) then
        return held_version, held_score, held_id
    end
end

local held = ask('HMGET', known, 'r:' .. record_id, 'd', 'l', 'l:' .. device)
local held_version, held_score, held_id = split(held[1])
if held_version and held_version > version then
    return 0
end
-- The newest deletion first; no id holds a control character.
local deletions = { '\n' .. record_id .. '\t' .. version }
for record, deleted in string.gmatch(held[2] or '', '\n([^\n\t]+)\t(%d+)') do
    if record == record_id and #deleted == #version and deleted >= version then
        return 0
    elseif record ~= record_id and #deletions < DELETIONS_MAX then
        deletions[#deletions + 1] = '\n' .. record .. '\t' .. deleted
    end
end

-- The record's older version leaves, or the same one if it was written in another way.
if held_id then
    for _, other in ipairs(ask('ZRANGEBYSCORE', series, held_score, held_score, 'LIMIT', 0, SAME_MOMENT_MAX)) do
        if id_of(other) == held_id and other ~= member then
            redis.call('ZREM', series, other)
        end
    end
    if held_id ~= event_id then
        redis.call('HDEL', known, 'e:' .. held_id)
    end
end

if member == '' then
    redis.call('HDEL', known, 'r:' .. record_id)
    for place = 1, 2 do
        if newest(KEYS[place]) == record_id then
            redis.call('UNLINK', KEYS[place])
        end
    end
    redis.call('HSET', known, 'd', table.concat(deletions))
    return 1
end

-- What is known is written before what it is known of: if the memory ends in between, it only leads to a second look.
local fields = { 'r:' .. record_id, version .. ' ' .. score .. ' ' .. event_id, 'e:' .. event_id, record_id }
local is_newest = {}
for place = 1, 2 do
    local bound = held[2 + place]
    is_newest[place] = true
    if not bound or newness <= bound then
        local held_record, held_newness = newest(KEYS[place])
        is_newest[place] = not held_record or held_record == record_id or held_newness <= newness
        bound = held_newness
    end
    fields[#fields + 1] = place == 1 and 'l' or 'l:' .. device
    fields[#fields + 1] = is_newest[place] and newness or bound
end
redis.call('HSET', known, unpack(fields))
for place = 1, 2 do
    if is_newest[place] then
        redis.call('SET', KEYS[place], value, 'EX', ttl_s)
    end
end

ask('ZADD', series, score, member)
local extra = redis.call('ZCARD', series) - series_max
if extra > 0 then
    local removed = redis.call('ZPOPMIN', series, math.min(extra, 1 + TRIM_MAX))
    for place = 1, #removed, 2 do
        local id = id_of(removed[place])
        local record = id and redis.call('HGET', known, 'e:' .. id)
        if record then
            redis.call('HDEL', known, 'e:' .. id)
            local _, _, of_record = split(redis.call('HGET', known, 'r:' .. record))
            if of_record == id then
                redis.call('HDEL', known, 'r:' .. record)
            end
        end
    end
end
return 1

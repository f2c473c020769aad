WITH RECURSIVE places (id, place, len) AS (
    SELECT id, 0, length(identities) / 16 FROM fresh_facts
    UNION ALL
    SELECT id, place + 1, len FROM places WHERE place + 1 < len
)
INSERT INTO facts (identity, version, event_seq, reading)
SELECT substr(identities, place * 16 + 1, 16), version, event_seq, reading + place
FROM places JOIN fresh_facts USING (id)
WHERE true
-- Of one fact the later row is the newer one.
ORDER BY id, place
ON CONFLICT (identity) DO UPDATE
SET version = excluded.version, event_seq = excluded.event_seq, reading = excluded.reading
WHERE excluded.version >= version;
DROP TABLE fresh_facts;

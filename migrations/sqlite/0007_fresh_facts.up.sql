-- New facts gather here and go into `facts` many at a time, in the order of its key: one by one each would change
-- another of its pages. What stands here is newer than what `facts` says of the same.
CREATE TABLE fresh_facts (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    version    INTEGER NOT NULL,
    event_seq  INTEGER NOT NULL,
    -- Of the first fact; of those behind it, the places behind it.
    reading    INTEGER,
    -- Facts of one event and version, one behind the other, 16 bytes each.
    identities BLOB    NOT NULL CHECK (length(identities) > 0 AND length(identities) % 16 = 0)
) STRICT;

-- What is not whole is not known: it comes again, and its readings are known.
CREATE TABLE deliveries_next (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    key         BLOB    NOT NULL UNIQUE CHECK (length(key) = 32),
    device      TEXT    NOT NULL,
    request_id  TEXT    NOT NULL,
    received_at INTEGER NOT NULL,
    status      TEXT    NOT NULL CHECK (status IN ('processed', 'accepted', 'quarantined')),
    -- LZ4 block with its uncompressed length in front.
    body        BLOB    NOT NULL
) STRICT;
INSERT INTO deliveries_next SELECT id, key, device, request_id, received_at, status, body FROM deliveries WHERE status <> 'partial';
-- Numbers are never used twice, those of rows that are gone included.
DELETE FROM sqlite_sequence WHERE name = 'deliveries_next';
INSERT INTO sqlite_sequence (name, seq) SELECT 'deliveries_next', seq FROM sqlite_sequence WHERE name = 'deliveries';
DROP TABLE deliveries;
ALTER TABLE deliveries_next RENAME TO deliveries;

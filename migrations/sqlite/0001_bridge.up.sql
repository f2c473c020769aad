-- Deliveries as they came, so that a repeated one is known and a broken one can be replayed.
CREATE TABLE deliveries (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    key         BLOB    NOT NULL UNIQUE CHECK (length(key) = 32),
    device      TEXT    NOT NULL,
    request_id  TEXT    NOT NULL,
    received_at INTEGER NOT NULL,
    status      TEXT    NOT NULL CHECK (status IN ('processed', 'accepted', 'quarantined')),
    -- LZ4 block with its uncompressed length in front.
    body        BLOB    NOT NULL
) STRICT;

-- Events as they were sent. `seq` is never used twice, so facts can point at it for ever.
CREATE TABLE events (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id    TEXT    NOT NULL,
    user_id     TEXT    NOT NULL CHECK (length(user_id) BETWEEN 1 AND 128),
    device_type TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    timestamp   INTEGER NOT NULL,
    delivery_id INTEGER NOT NULL,
    -- Names of the metrics in it, each between commas, for the read API's filter.
    metrics     TEXT    NOT NULL,
    -- 0 once a newer version or a deletion has taken its place.
    visible     INTEGER NOT NULL DEFAULT 1 CHECK (visible IN (0, 1)),
    -- JSON list of the readings that newer versions have taken the place of.
    hidden      TEXT,
    value       BLOB    NOT NULL,
    headers     BLOB    NOT NULL
) STRICT;

-- GET /v1/users/{id}/events: one user's newest versions in time order.
CREATE INDEX events_by_user ON events (user_id, timestamp, event_id) WHERE visible = 1;

-- The newest version of every fact, and where it stands.
CREATE TABLE facts (
    identity  BLOB    PRIMARY KEY CHECK (length(identity) = 16),
    version   INTEGER NOT NULL,
    event_seq INTEGER NOT NULL,
    reading   INTEGER
) STRICT, WITHOUT ROWID;

-- The newest reading of each metric of a user.
CREATE TABLE latest (
    user_id     TEXT    NOT NULL,
    metric      TEXT    NOT NULL,
    timestamp   INTEGER NOT NULL,
    confidence  REAL    NOT NULL,
    event_seq   INTEGER NOT NULL,
    device_type TEXT    NOT NULL,
    reading     TEXT    NOT NULL,
    PRIMARY KEY (user_id, metric)
) STRICT, WITHOUT ROWID;

-- Committed messages on their way to the log. They leave by DELETE; ids are never used twice.
CREATE TABLE outbox (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    topic   TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    value   BLOB    NOT NULL,
    headers BLOB    NOT NULL
) STRICT;

-- Users' states at rest.
CREATE TABLE checkpoints (
    user_id     TEXT    PRIMARY KEY,
    state_seq   INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    state       BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- How far each consumer's checkpoints cover each partition.
CREATE TABLE positions (
    consumer    TEXT    NOT NULL,
    partition   INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (consumer, partition)
) STRICT, WITHOUT ROWID;

CREATE TABLE mode_switches (
    seq       INTEGER PRIMARY KEY AUTOINCREMENT,
    switch_id TEXT    NOT NULL UNIQUE,
    user_id   TEXT    NOT NULL,
    timestamp INTEGER NOT NULL,
    value     BLOB    NOT NULL
) STRICT;

-- GET /v1/users/{id}/mode-switches: newest first.
CREATE INDEX mode_switches_by_user ON mode_switches (user_id, seq);

CREATE TABLE kafka_dlq (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    id             TEXT    NOT NULL UNIQUE,
    original_topic TEXT    NOT NULL,
    error_type     TEXT    NOT NULL,
    error_message  TEXT    NOT NULL,
    failed_at      INTEGER NOT NULL,
    retry_count    INTEGER NOT NULL,
    key            TEXT    NOT NULL,
    value          BLOB    NOT NULL,
    headers        BLOB    NOT NULL
) STRICT;

-- The embedded event log.
CREATE TABLE log (
    topic     TEXT    NOT NULL,
    partition INTEGER NOT NULL,
    offset    INTEGER NOT NULL,
    key       TEXT    NOT NULL,
    value     BLOB    NOT NULL,
    headers   BLOB    NOT NULL,
    UNIQUE (topic, partition, offset)
) STRICT;

-- The next offset of each partition, kept apart so that retention never makes an offset come twice.
CREATE TABLE log_ends (
    topic       TEXT    NOT NULL,
    partition   INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (topic, partition)
) STRICT, WITHOUT ROWID;

-- What must not change under a running system: the number of partitions.
CREATE TABLE log_layout (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    partitions INTEGER NOT NULL
) STRICT;

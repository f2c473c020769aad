-- What is to be fetched from vendors' APIs. Rows come with the commit of the delivery that asks for them, and leave with
-- that of the answer.
CREATE TABLE vendor_fetches (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    vendor        TEXT    NOT NULL,
    -- `vendor:` and the vendor's id of the person, or `user:` and ours: erasure finds a person's rows by it.
    whose         TEXT    NOT NULL,
    -- The question, in JSON: equal questions are equal texts.
    question      TEXT    NOT NULL,
    changed_at    INTEGER NOT NULL,
    received_at   INTEGER NOT NULL,
    request_id    TEXT    NOT NULL,
    is_backfill   INTEGER NOT NULL CHECK (is_backfill IN (0, 1)),
    created_at    INTEGER NOT NULL,
    -- When it may be claimed; of a row with a holder, when the lease ends.
    due_at        INTEGER NOT NULL,
    attempts      INTEGER NOT NULL DEFAULT 0,
    looks         INTEGER NOT NULL DEFAULT 0,
    state         TEXT    NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'awaiting_account', 'dead')),
    lease_holder  BLOB,
    -- Its account has come to tokens after it was claimed.
    is_released   INTEGER NOT NULL DEFAULT 0 CHECK (is_released IN (0, 1)),
    -- Why and when it was given up last.
    error_type    TEXT,
    error_message TEXT,
    failed_at     INTEGER
) STRICT;

-- A claim: what has been due longest, and when the next one is.
CREATE INDEX vendor_fetches_by_due ON vendor_fetches (vendor, is_backfill, due_at, id) WHERE state <> 'dead';
-- Who else asks the same; what an account with new tokens releases; erasure. The question itself may be longer than an
-- index takes, and of one account there are few.
CREATE INDEX vendor_fetches_by_whose ON vendor_fetches (whose, vendor);
-- A page of what was given up.
CREATE INDEX vendor_fetches_dead ON vendor_fetches (id) WHERE state = 'dead';

-- What vendors have been asked of late: a `RateBudget` in JSON.
CREATE TABLE vendor_budgets (
    vendor TEXT NOT NULL PRIMARY KEY,
    budget TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What is to be fetched from vendors' APIs. Rows come with the commit of the delivery that asks for them, and leave with
-- that of the answer.
CREATE TABLE vendor_fetches (
    id            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vendor        text        COLLATE "C" NOT NULL,
    -- `vendor:` and the vendor's id of the person, or `user:` and ours: erasure finds a person's rows by it.
    whose         text        COLLATE "C" NOT NULL,
    -- The question, in JSON: equal questions are equal texts.
    question      text        COLLATE "C" NOT NULL,
    changed_at    timestamptz NOT NULL,
    received_at   timestamptz NOT NULL,
    request_id    text        NOT NULL,
    is_backfill   boolean     NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    -- When it may be claimed; of a row with a holder, when the lease ends. By this server's clock, as all that follow.
    due_at        timestamptz NOT NULL DEFAULT now(),
    attempts      integer     NOT NULL DEFAULT 0,
    looks         integer     NOT NULL DEFAULT 0,
    state         text        NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'awaiting_account', 'dead')),
    lease_holder  uuid,
    -- Its account has come to tokens after it was claimed.
    is_released   boolean     NOT NULL DEFAULT false,
    -- Why and when it was given up last.
    error_type    text,
    error_message text,
    failed_at     timestamptz
)
-- Rows live for seconds: as with the outbox, the number of dead ones says more than their part of the table.
WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);

-- A claim: what has been due longest, and when the next one is.
CREATE INDEX vendor_fetches_by_due ON vendor_fetches (vendor, is_backfill, due_at, id) WHERE state <> 'dead';
-- Who else asks the same; what an account with new tokens releases; erasure. The question itself may be longer than an
-- index takes, and of one account there are few.
CREATE INDEX vendor_fetches_by_whose ON vendor_fetches (whose, vendor);
-- A page of what was given up.
CREATE INDEX vendor_fetches_dead ON vendor_fetches (id) WHERE state = 'dead';

-- What vendors have been asked of late: a `RateBudget` in JSON. A claim holds its vendor's row until it is committed.
CREATE TABLE vendor_budgets (
    vendor text COLLATE "C" NOT NULL PRIMARY KEY,
    budget text NOT NULL
)
WITH (fillfactor = 70);

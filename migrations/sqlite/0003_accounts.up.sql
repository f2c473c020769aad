-- Whose a vendor's account is.
CREATE TABLE account_links (
    vendor         TEXT NOT NULL,
    vendor_user_id TEXT NOT NULL CHECK (length(vendor_user_id) BETWEEN 1 AND 128),
    user_id        TEXT NOT NULL CHECK (length(user_id) BETWEEN 1 AND 128),
    timezone       TEXT,
    -- SHA-256 of a key that speaks for this user alone. Its index answers: whose is this key?
    key_hash       BLOB UNIQUE CHECK (length(key_hash) = 32),
    PRIMARY KEY (vendor, vendor_user_id)
) STRICT, WITHOUT ROWID;

-- The tokens that open accounts, sealed with the key `key_id`.
CREATE TABLE user_oauth_tokens (
    vendor         TEXT    NOT NULL,
    vendor_user_id TEXT    NOT NULL,
    -- Grows with each pair: who replaces one says which.
    version        INTEGER NOT NULL,
    state          TEXT    NOT NULL CHECK (state IN ('active', 'needs_reconnection')),
    state_since    INTEGER NOT NULL,
    key_id         TEXT    NOT NULL,
    access_token   BLOB    NOT NULL,
    refresh_token  BLOB,
    scope          TEXT,
    obtained_at    INTEGER NOT NULL,
    expires_at     INTEGER,
    -- Who refreshes the pair, until when; without a holder, until when nobody does.
    lease_holder   BLOB,
    lease_until    INTEGER,
    PRIMARY KEY (vendor, vendor_user_id),
    FOREIGN KEY (vendor, vendor_user_id) REFERENCES account_links ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

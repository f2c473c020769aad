-- Whose a vendor's account is.
CREATE TABLE account_links (
    vendor         text  COLLATE "C" NOT NULL,
    vendor_user_id text  COLLATE "C" NOT NULL CHECK (octet_length(vendor_user_id) BETWEEN 1 AND 128),
    user_id        text  COLLATE "C" NOT NULL CHECK (octet_length(user_id) BETWEEN 1 AND 128),
    timezone       text,
    -- SHA-256 of a key that speaks for this user alone. Its index answers: whose is this key?
    key_hash       bytea UNIQUE CHECK (octet_length(key_hash) = 32),
    PRIMARY KEY (vendor, vendor_user_id)
);

-- The tokens that open accounts, sealed with the key `key_id`.
CREATE TABLE user_oauth_tokens (
    vendor         text        COLLATE "C" NOT NULL,
    vendor_user_id text        COLLATE "C" NOT NULL,
    -- Grows with each pair: who replaces one says which.
    version        bigint      NOT NULL,
    state          text        NOT NULL CHECK (state IN ('active', 'needs_reconnection')),
    state_since    timestamptz NOT NULL DEFAULT now(),
    key_id         text        NOT NULL,
    access_token   bytea       NOT NULL,
    refresh_token  bytea,
    scope          text,
    obtained_at    timestamptz NOT NULL,
    expires_at     timestamptz,
    -- Who refreshes the pair, until when by this server's clock; without a holder, until when nobody does.
    lease_holder   uuid,
    lease_until    timestamptz,
    PRIMARY KEY (vendor, vendor_user_id),
    FOREIGN KEY (vendor, vendor_user_id) REFERENCES account_links ON DELETE CASCADE
)
-- Leases come and go in place, without the index.
WITH (fillfactor = 70);

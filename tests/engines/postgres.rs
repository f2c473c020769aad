//! What only PostgreSQL has: leases of shards, migrations, and its own columns.

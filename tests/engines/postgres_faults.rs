//! PostgreSQL away, slow, locked, read-only or killed in the middle: an error within 3 s, and recovery by itself.

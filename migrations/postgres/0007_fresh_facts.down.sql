-- Only for SQLite.
SELECT 1;

ALTER TABLE positions DROP COLUMN epoch;

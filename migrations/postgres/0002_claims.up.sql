-- Who owns a partition: each owner claims it with a larger number, and what rests on a smaller one is refused.
ALTER TABLE positions ADD COLUMN epoch bigint NOT NULL DEFAULT 0;

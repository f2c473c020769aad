-- A long delivery is committed in parts: until the last one it is not known.
ALTER TABLE deliveries DROP CONSTRAINT deliveries_status_check;
ALTER TABLE deliveries ADD CONSTRAINT deliveries_status_check
    CHECK (status IN ('processed', 'accepted', 'quarantined', 'partial'));

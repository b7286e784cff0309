-- How many builds each worker holds at once, and how many beyond those of projects that have none running: what is shared
-- between projects is what all workers that live hold together.

ALTER TABLE leases
    ADD COLUMN build_slots integer NOT NULL DEFAULT 0,
    ADD COLUMN build_reserve integer NOT NULL DEFAULT 0;

CREATE INDEX deployments_waiting ON deployments (project_id, queued_at, sequence)
    WHERE status = 'waiting' AND queued_at IS NOT NULL;
CREATE INDEX deployments_building ON deployments (project_id) WHERE status IN ('processing', 'building');

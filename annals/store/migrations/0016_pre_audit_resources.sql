-- Events are also found by the resource they are about, and by when they were recorded. The follower begins anew.
TRUNCATE audit;
DELETE FROM checkpoints WHERE name = 'audit';
ALTER TABLE audit
    ADD COLUMN resource_type text COLLATE "C" NOT NULL,
    ADD COLUMN resource_id text COLLATE "C" NOT NULL,
    ADD COLUMN recorded_at timestamptz NOT NULL;

-- name: find
-- A project's wrapped data key.
SELECT key_id, wrapped FROM data_keys WHERE project = %(project)s;

-- name: some
-- One wrapped data key, if any exists.
SELECT project, key_id, wrapped FROM data_keys ORDER BY project LIMIT 1;

-- name: all
-- Every wrapped data key.
SELECT project, key_id, wrapped FROM data_keys ORDER BY project;

-- name: rewrap
-- Wrap a data key with another master key, unless it was changed meanwhile.
UPDATE data_keys SET wrapped = %(wrapped)s WHERE project = %(project)s AND wrapped = %(former)s;

-- name: add
-- Add a data key for an existing project; the first process wins. A deletion of the project waits for this statement.
WITH its_project AS MATERIALIZED (
    SELECT 1 FROM projects WHERE project_id = %(project)s FOR KEY SHARE
)
INSERT INTO data_keys (project, key_id, wrapped)
SELECT %(project)s, %(key_id)s, %(wrapped)s
WHERE %(of_instance)s OR EXISTS (SELECT FROM its_project)
ON CONFLICT (project) DO NOTHING;

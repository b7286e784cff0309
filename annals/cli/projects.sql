-- name: list
-- Every project with how much it holds.
SELECT p.project_id AS id, p.name, p.created_at,
    (SELECT count(*) FROM keys k WHERE k.project_id = p.project_id) AS keys,
    (SELECT count(*) FROM functions f WHERE f.project_id = p.project_id) AS functions
FROM projects p ORDER BY p.sequence;

-- name: keys
-- A project's keys, oldest first.
SELECT key_id AS id, name, scopes, expires_at, created_at FROM keys
WHERE project_id = %(project)s ORDER BY sequence;

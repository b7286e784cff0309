-- name: count
-- An amount more of a project within a window; the sum so far. Windows that ended go.
WITH ended AS (
    DELETE FROM quotas WHERE project_id = %(project)s AND name = %(name)s AND begins_at < %(begins_at)s
)
INSERT INTO quotas AS q (project_id, name, begins_at, tried)
VALUES (%(project)s, %(name)s, %(begins_at)s, %(amount)s::bigint)
ON CONFLICT (project_id, name, begins_at) DO UPDATE SET tried = q.tried + excluded.tried
RETURNING tried;

-- name: added
-- A key may act for its project.
INSERT INTO keys (project_id, key_id, sequence, name, digest, scopes, expires_at, created_at)
SELECT p.project_id, %(key_id)s, e.notification_id, %(name)s, %(digest)s, %(scopes)s::text[], %(expires_at)s, e.recorded_at
FROM events e JOIN projects p ON p.stream_id = e.originator_id
WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
ON CONFLICT (project_id, key_id) DO NOTHING
RETURNING *;

-- name: revoked
-- A key acts no longer.
DELETE FROM keys USING projects p
WHERE p.stream_id = %(stream)s AND keys.project_id = p.project_id AND keys.key_id = %(key_id)s;

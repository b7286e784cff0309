-- name: added
-- Repositories of one host more can be connected.
WITH owner AS (
    UPDATE projects p SET version = %(version)s
    FROM events e
    WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
        AND p.stream_id = %(stream)s AND p.version < %(version)s
    RETURNING p.project_id, e.notification_id, e.recorded_at
)
INSERT INTO installations (
    project_id, installation_id, sequence, provider, organization, url, app_id, provider_installation_id, created_at,
    updated_at
)
SELECT
    project_id, %(installation_id)s, notification_id, %(provider)s, %(organization)s, %(url)s, %(app_id)s,
    %(provider_installation_id)s, recorded_at, recorded_at
FROM owner
RETURNING *;

-- name: removed
-- Repositories of that host can be fetched no longer.
WITH owner AS (
    UPDATE projects SET version = %(version)s
    WHERE stream_id = %(stream)s AND version < %(version)s
    RETURNING project_id
)
DELETE FROM installations i USING owner
WHERE i.project_id = owner.project_id AND i.installation_id = %(installation_id)s;

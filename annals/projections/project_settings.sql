-- name: service_switched
-- A service is on or off for users and guests.
UPDATE projects p SET
    version = %(version)s,
    disabled = CASE WHEN %(enabled)s::boolean THEN array_remove(p.disabled, %(service)s::text)
        ELSE array_append(array_remove(p.disabled, %(service)s::text), %(service)s::text) END,
    updated_at = greatest(e.recorded_at, p.updated_at + interval '1 millisecond')
FROM events e
WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
    AND p.stream_id = %(stream)s AND p.version < %(version)s
RETURNING p.*;

-- name: platform_added
-- A project's client runs in one place more.
WITH owner AS (
    UPDATE projects p SET version = %(version)s
    FROM events e
    WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
        AND p.stream_id = %(stream)s AND p.version < %(version)s
    RETURNING p.project_id, e.notification_id, e.recorded_at
)
INSERT INTO platforms (project_id, platform_id, sequence, type, name, hostname, key, store, created_at)
SELECT
    project_id, %(platform_id)s, notification_id, %(type)s, %(name)s, %(hostname)s, %(key)s, %(store)s, recorded_at
FROM owner
RETURNING *;

-- name: platform_removed
-- Pages of that place may call no longer.
WITH owner AS (
    UPDATE projects SET version = %(version)s
    WHERE stream_id = %(stream)s AND version < %(version)s
    RETURNING project_id
)
DELETE FROM platforms USING owner
WHERE platforms.project_id = owner.project_id AND platforms.platform_id = %(platform_id)s;

-- name: variable_added
-- All functions see one variable more; its row has no function.
WITH owner AS (
    UPDATE projects p SET version = %(version)s, variables_version = %(version)s
    FROM events e
    WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
        AND p.stream_id = %(stream)s AND p.version < %(version)s
    RETURNING p.project_id, e.notification_id, e.recorded_at
)
INSERT INTO variables (
    project_id, variable_id, function_id, function_sequence, sequence, version, key, sealed, secret, created_at, updated_at
)
SELECT
    project_id, %(variable_id)s, '', 0, notification_id, %(version)s, %(key)s, %(sealed)s, %(secret)s, recorded_at,
    recorded_at
FROM owner
RETURNING *;

-- name: variable_changed
-- A variable of all functions has another key, value or secrecy.
WITH owner AS (
    UPDATE projects p SET version = %(version)s, variables_version = %(version)s
    FROM events e
    WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
        AND p.stream_id = %(stream)s AND p.version < %(version)s
    RETURNING p.project_id, e.recorded_at
)
UPDATE variables v SET
    version = %(version)s, key = %(key)s, sealed = %(sealed)s, secret = %(secret)s,
    updated_at = greatest(owner.recorded_at, v.updated_at + interval '1 millisecond')
FROM owner WHERE v.project_id = owner.project_id AND v.function_id = '' AND v.variable_id = %(variable_id)s
RETURNING v.*;

-- name: variable_removed
-- All functions see one variable less.
WITH owner AS (
    UPDATE projects SET version = %(version)s, variables_version = %(version)s
    WHERE stream_id = %(stream)s AND version < %(version)s
    RETURNING project_id
)
DELETE FROM variables v USING owner
WHERE v.project_id = owner.project_id AND v.function_id = '' AND v.variable_id = %(variable_id)s;

-- name: added
-- A function has one variable more, and its active build no longer shows its configuration.
WITH owner AS (
    UPDATE functions f SET
        version = %(version)s, live = false, updated_at = greatest(e.recorded_at, f.updated_at + interval '1 millisecond')
    FROM events e
    WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
        AND f.stream_id = %(stream)s AND f.version < %(version)s
    RETURNING f.project_id, f.function_id, f.sequence AS function_sequence, e.notification_id, e.recorded_at
), added AS (
    INSERT INTO variables (
        project_id, variable_id, function_id, function_sequence, sequence, version, key, sealed, secret, created_at,
        updated_at
    )
    SELECT
        project_id, %(variable_id)s, function_id, function_sequence, notification_id, %(version)s, %(key)s, %(sealed)s,
        %(secret)s, recorded_at, recorded_at
    FROM owner
    RETURNING *
), counted AS (
    INSERT INTO counters AS c (project_id, scope, name, value)
    SELECT project_id, function_id, 'variables', 1 FROM added
    ON CONFLICT (project_id, scope, name) DO UPDATE SET value = c.value + 1
)
SELECT * FROM added;

-- name: changed
-- A variable has another key, value or secrecy.
WITH owner AS (
    UPDATE functions f SET
        version = %(version)s, live = false, updated_at = greatest(e.recorded_at, f.updated_at + interval '1 millisecond')
    FROM events e
    WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
        AND f.stream_id = %(stream)s AND f.version < %(version)s
    RETURNING f.project_id, e.recorded_at
)
UPDATE variables v SET
    version = %(version)s, key = %(key)s, sealed = %(sealed)s, secret = %(secret)s,
    updated_at = greatest(owner.recorded_at, v.updated_at + interval '1 millisecond')
FROM owner WHERE v.project_id = owner.project_id AND v.variable_id = %(variable_id)s
RETURNING v.*;

-- name: removed
-- A function has one variable less.
WITH owner AS (
    UPDATE functions f SET
        version = %(version)s, live = false, updated_at = greatest(e.recorded_at, f.updated_at + interval '1 millisecond')
    FROM events e
    WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
        AND f.stream_id = %(stream)s AND f.version < %(version)s
    RETURNING f.project_id
), gone AS (
    DELETE FROM variables v USING owner WHERE v.project_id = owner.project_id AND v.variable_id = %(variable_id)s
    RETURNING v.project_id, v.function_id
)
UPDATE counters c SET value = c.value - 1 FROM gone
WHERE c.project_id = gone.project_id AND c.scope = gone.function_id AND c.name = 'variables';

-- name: searched
-- The searchable rows of events in the log's order, to select from.
(SELECT audit.*, position AS sequence FROM audit) AS audit

-- name: own
-- A condition for the rows of a project's own events, without those of a former project of its id.
project_id = %s AND position >= %s AND (causation = 0 OR causation >= %s);

-- name: searchable
-- The newest position of a project, and the position up to which its events can be searched.
SELECT
    coalesce((SELECT notification_id FROM events WHERE project = %(project)s ORDER BY notification_id DESC LIMIT 1), 0)
        AS newest,
    coalesce((SELECT position FROM checkpoints WHERE name = 'audit'), 0) AS searched;

-- name: at
-- Events by position.
SELECT notification_id, recorded_at, project, originator_id, originator_version, topic, state FROM events
WHERE notification_id = ANY(%(positions)s::bigint[]);

-- name: keys
-- The names of a project's keys, revoked ones included.
SELECT convert_from(state, 'UTF8')::json -> 'key' ->> 'key_id' AS id, convert_from(state, 'UTF8')::json -> 'key' ->> 'name' AS name
FROM events WHERE originator_id = %(stream)s AND topic = 'project.key_added' ORDER BY originator_version;

-- name: users
-- The names of existing users, or their emails.
SELECT user_id AS id, coalesce(nullif(name, ''), email) AS name FROM users
WHERE project_id = %(project)s AND user_id = ANY(%(ids)s::text[]);

-- name: functions
-- The names of existing functions.
SELECT function_id AS id, name FROM functions
WHERE project_id = %(project)s AND function_id = ANY(%(ids)s::text[]);

-- name: tree
-- The events of a request with all events that they caused; without a request, those that one event caused.
WITH RECURSIVE caused (position, causation) AS (
    SELECT position, causation FROM audit
    WHERE project_id = %(project)s AND position >= %(since)s
        AND (position = %(root)s OR (correlation <> '' AND correlation = %(correlation)s))
    UNION
    SELECT a.position, a.causation FROM caused c JOIN audit a ON a.causation = c.position AND a.causation <> 0
    WHERE a.project_id = %(project)s AND a.position >= %(since)s
)
SELECT position, causation FROM caused ORDER BY position LIMIT %(limit)s;

-- name: cause
-- The first event in the chain of causes of one event, and the request that caused it.
WITH RECURSIVE causes AS (
    SELECT position, causation, correlation FROM audit WHERE position = %(position)s AND project_id = %(project)s
    UNION ALL
    SELECT a.position, a.causation, a.correlation FROM causes c JOIN audit a ON a.position = c.causation
    WHERE c.causation <> 0 AND a.project_id = %(project)s AND a.position >= %(since)s
)
SELECT position, correlation FROM causes ORDER BY position LIMIT 1;

-- name: functions_with_old_executions
-- Functions that have executions which ended and are older than a position, or whose function is gone (all of those go):
-- their cause is the function's deletion.
SELECT x.project_id, x.function_id, x.function_sequence, f.sequence IS NULL AS orphaned,
    CASE WHEN f.sequence IS NULL THEN coalesce(
        (
            SELECT min(e.notification_id) FROM events e
            WHERE e.originator_id = 'function:' || x.project_id || ':' || x.function_id AND e.topic = 'function.deleted'
                AND e.notification_id > x.function_sequence
        ),
        x.function_sequence
    ) ELSE 0 END AS cause
FROM executions x
LEFT JOIN functions f
    ON f.project_id = x.project_id AND f.function_id = x.function_id AND f.sequence = x.function_sequence
WHERE f.sequence IS NULL OR (x.sequence <= (SELECT position_at(%(before)s)) AND x.status IN ('completed', 'failed'))
GROUP BY x.project_id, x.function_id, x.function_sequence, f.sequence;

-- name: orphaned_functions
-- Incarnations of a function's id that are gone and still have executions.
SELECT DISTINCT x.function_sequence FROM executions x
LEFT JOIN functions f
    ON f.project_id = x.project_id AND f.function_id = x.function_id AND f.sequence = x.function_sequence
WHERE x.project_id = %(project_id)s AND x.function_id = %(function_id)s AND f.sequence IS NULL;

-- name: next_step
-- How far the next sweep of a function's executions goes: up to `limit` of the oldest.
SELECT max(sequence) AS up_to FROM (
    SELECT sequence FROM executions
    WHERE project_id = %(project_id)s AND function_id = %(function_id)s AND function_sequence = %(function_sequence)s
        AND (%(all)s OR (sequence <= (SELECT position_at(%(before)s)) AND status IN ('completed', 'failed')))
    ORDER BY sequence LIMIT %(limit)s
) oldest;

-- name: old_deployments
-- Deployments that their function's retention gives up: ended, answering no calls, older than its days.
SELECT d.project_id, d.function_id, d.deployment_id FROM deployments d
JOIN functions f
    ON f.project_id = d.project_id AND f.function_id = d.function_id AND f.sequence = d.function_sequence
WHERE f.deployment_retention > 0 AND d.deployment_id <> f.deployment_id
    AND NOT f.policy @> jsonb_build_object('traffic', jsonb_build_array(jsonb_build_object('deployment_id', d.deployment_id)))
    AND d.status NOT IN ('waiting', 'processing', 'building')
    AND d.created_at < %(now)s::timestamptz - make_interval(days => f.deployment_retention)
LIMIT %(limit)s;

-- name: blobs_in_use
-- Which of some sources and artefacts a deployment has.
SELECT source_key AS key FROM deployments WHERE source_key = ANY(%(keys)s::text[]) AND source_key <> ''
UNION ALL
SELECT artefact_key FROM deployments WHERE artefact_key = ANY(%(keys)s::text[]) AND artefact_key <> '';

-- name: uploads_open
-- Which of some deployments still wait for parts of their source.
SELECT d.project_id, d.deployment_id FROM deployments d
JOIN unnest(%(projects)s::text[], %(deployments)s::text[]) AS i (project_id, deployment_id)
    USING (project_id, deployment_id)
WHERE d.source_key = '';

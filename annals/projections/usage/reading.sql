-- name: unbooked
-- Whether a project has an event that is not booked yet. Ordered, since a planner that expects to find one at once
-- reads the whole log where there is none.
SELECT 1 FROM events WHERE project = %s
    AND notification_id > coalesce((SELECT position FROM checkpoints WHERE name = 'usage'), 0)
ORDER BY notification_id LIMIT 1;

-- name: tail
-- A project's events that are not booked yet.
SELECT notification_id, recorded_at, project, originator_id, originator_version, topic, state FROM events
WHERE project = %s AND notification_id > coalesce((SELECT position FROM checkpoints WHERE name = 'usage'), 0)
ORDER BY notification_id LIMIT %s;

-- name: totals_of_project
-- Sums over all time.
SELECT metric, sum(value) AS value FROM usage_totals WHERE project_id = %s GROUP BY metric;

-- name: totals_of_function
-- Sums over all time.
SELECT metric, value FROM usage_totals WHERE project_id = %s AND function_id = %s AND function_sequence = %s;

-- name: series_of_project
-- Sums by hour or day since a moment, from the cube's cells that hold nothing but the time.
SELECT
    bucket, functions, deployments, deployments_storage, builds, builds_success, builds_failed, builds_storage,
    builds_time_ms, builds_mb_seconds, executions, executions_time_ms, executions_mb_seconds
FROM {table} WHERE grain = %s AND bucket >= %s AND cube = 'total' AND project_id = %s;

-- name: series_of_function
-- The same of one function.
SELECT
    bucket, sum(functions) AS functions, sum(deployments) AS deployments,
    sum(deployments_storage) AS deployments_storage, sum(builds) AS builds, sum(builds_success) AS builds_success,
    sum(builds_failed) AS builds_failed, sum(builds_storage) AS builds_storage, sum(builds_time_ms) AS builds_time_ms,
    sum(builds_mb_seconds) AS builds_mb_seconds, sum(executions) AS executions,
    sum(executions_time_ms) AS executions_time_ms, sum(executions_mb_seconds) AS executions_mb_seconds
FROM {table}
WHERE grain = %s AND bucket >= %s AND cube = 'place' AND project_id = %s AND function_id = %s AND function_sequence = %s
GROUP BY 1;

-- name: unbooked
-- A row if a project has events after the follower's checkpoint. Without the order the planner expects a match soon, and
-- reads the whole log if there is none.
SELECT 1 FROM events WHERE project = %s
    AND notification_id > coalesce((SELECT position FROM checkpoints WHERE name = 'usage'), 0)
ORDER BY notification_id LIMIT 1;

-- name: totals_of_project
-- Sums over all time.
SELECT metric, sum(value) AS value FROM usage_totals WHERE project_id = %s GROUP BY metric;

-- name: totals_of_function
-- Sums over all time of one function.
SELECT metric, value FROM usage_totals WHERE project_id = %s AND function_id = %s AND function_sequence = %s;

-- name: series_of_project
-- Sums by hour or day since a moment, from the cube without other keys.
SELECT
    bucket, functions, deployments, deployments_storage, builds, builds_success, builds_failed, builds_storage,
    builds_time_ms, builds_mb_seconds, executions, executions_time_ms, executions_mb_seconds
FROM {table} WHERE grain = %s AND bucket >= %s AND cube = 'total' AND project_id = %s;

-- name: series_of_function
-- Sums by hour or day since a moment, of one function.
SELECT
    bucket, sum(functions) AS functions, sum(deployments) AS deployments,
    sum(deployments_storage) AS deployments_storage, sum(builds) AS builds, sum(builds_success) AS builds_success,
    sum(builds_failed) AS builds_failed, sum(builds_storage) AS builds_storage, sum(builds_time_ms) AS builds_time_ms,
    sum(builds_mb_seconds) AS builds_mb_seconds, sum(executions) AS executions,
    sum(executions_time_ms) AS executions_time_ms, sum(executions_mb_seconds) AS executions_mb_seconds
FROM {table}
WHERE grain = %s AND bucket >= %s AND cube = 'place' AND project_id = %s AND function_id = %s AND function_sequence = %s
GROUP BY 1;

-- name: sums_until
-- Sums by hour or day up to a whole quarter of an hour: complete days from days, the rest from quarters. Everything before
-- the series has no period.
SELECT
    CASE WHEN bucket >= %(since)s THEN date_trunc(%(unit)s, bucket, 'UTC') END AS period,
    sum(functions) AS functions, sum(deployments) AS deployments, sum(deployments_storage) AS deployments_storage,
    sum(builds) AS builds, sum(builds_success) AS builds_success, sum(builds_failed) AS builds_failed,
    sum(builds_storage) AS builds_storage, sum(builds_time_ms) AS builds_time_ms,
    sum(builds_mb_seconds) AS builds_mb_seconds, sum(executions) AS executions,
    sum(executions_time_ms) AS executions_time_ms, sum(executions_mb_seconds) AS executions_mb_seconds
FROM (
    SELECT * FROM usage_days
    WHERE project_id = %(project_id)s AND cube = %(cube)s AND grain = 1440 AND bucket < %(days_until)s
    UNION ALL
    SELECT * FROM usage_cells
    WHERE project_id = %(project_id)s AND cube = %(cube)s AND grain = 15 AND bucket >= %(days_until)s
        AND bucket < %(until)s
) AS cell
WHERE %(function_id)s::text IS NULL OR (function_id = %(function_id)s AND function_sequence = %(function_sequence)s)
GROUP BY 1;

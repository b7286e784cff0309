-- name: sums
-- Sums by hour or day up to a whole quarter of an hour: days that are over by the day, what came then by the quarter. What
-- came before the series has no period.
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

-- name: deployments
-- A project's deployments as they were at a position, with their source bytes.
SELECT v.id, v.image ->> 'function_id' AS function_id, (v.image ->> 'function_sequence')::bigint AS function_sequence,
    (v.image ->> 'source_size')::bigint AS source_bytes
FROM row_versions v
WHERE v.kind = 'deployments' AND v.project_id = %(project_id)s AND v.from_position <= %(position)s
    AND v.to_position > %(position)s
    AND (v.id = ANY(%(deployments)s::text[]) OR v.function_id = ANY(%(functions)s::text[]));

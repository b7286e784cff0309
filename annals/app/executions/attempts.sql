-- name: queue
-- Where an execution stands among those of its function that wait, and whether they may run at all.
SELECT
    coalesce(sum((x.status <> 'processing' AND x.sequence <= %s)::integer), 0) AS position,
    coalesce(sum((x.status = 'processing')::integer), 0) AS running,
    (
        SELECT coalesce((f.policy #>> '{scaling,concurrency}')::integer, 0) FROM functions f
        WHERE f.project_id = %s AND f.function_id = %s
    ) AS concurrency
FROM executions x
WHERE x.status IN ('waiting', 'processing', 'scheduled') AND x.project_id = %s AND x.function_id = %s AND (
    x.status = 'processing'
    OR (x.status = 'waiting' AND (x.retry_at IS NULL OR x.retry_at <= now()))
    OR (x.status = 'scheduled' AND x.scheduled_at <= now())
);

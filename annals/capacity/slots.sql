-- name: bounded_functions
-- Functions whose policy bounds how many calls run at once.
SELECT project_id, function_id FROM functions
WHERE policy <> '{}' AND (policy #>> '{scaling,concurrency}')::integer > 0;

-- name: startable
-- The oldest executions that wait for a slot and may run: of each given function as many as it has free slots.
WITH running AS MATERIALIZED (
    SELECT project_id, function_id, count(*) AS count FROM executions WHERE status = 'processing'
    GROUP BY project_id, function_id
), wanted AS (
    SELECT f.project_id, f.function_id, (f.policy #>> '{scaling,concurrency}')::integer AS bound
    FROM unnest(%(projects)s::text[], %(functions)s::text[]) AS w (project_id, function_id)
    JOIN functions f ON f.project_id = w.project_id AND f.function_id = w.function_id
    UNION ALL
    SELECT project_id, function_id, (policy #>> '{scaling,concurrency}')::integer FROM functions
    WHERE policy <> '{}' AND %(all)s
), free AS (
    SELECT
        w.project_id, w.function_id,
        least(CASE WHEN w.bound > 0 THEN greatest(w.bound - coalesce(r.count, 0), 0) END, %(most)s::integer) AS slots
    FROM wanted w LEFT JOIN running r ON r.project_id = w.project_id AND r.function_id = w.function_id
)
SELECT next.stream_id FROM free f CROSS JOIN LATERAL (
    (
        SELECT x.stream_id, x.sequence FROM executions x
        WHERE x.status = 'waiting' AND x.project_id = f.project_id AND x.function_id = f.function_id
            AND (x.retry_at IS NULL OR x.retry_at <= now())
        ORDER BY x.scheduled_at, x.sequence LIMIT f.slots
    )
    UNION ALL
    (
        SELECT x.stream_id, x.sequence FROM executions x
        WHERE x.status = 'scheduled' AND x.project_id = f.project_id AND x.function_id = f.function_id
            AND x.scheduled_at <= now()
        ORDER BY x.scheduled_at, x.sequence LIMIT f.slots
    )
    ORDER BY sequence LIMIT f.slots
) next;

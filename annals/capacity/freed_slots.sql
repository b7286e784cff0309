-- name: next
-- The oldest executions that wait for a place and may run: as many of each function that was told of as it has places free.
WITH running AS MATERIALIZED (
    SELECT project_id, function_id, count(*) AS count FROM executions WHERE status = 'processing'
    GROUP BY project_id, function_id
), told AS (
    SELECT f.project_id, f.function_id, (f.policy #>> '{scaling,concurrency}')::integer AS bound
    FROM unnest(%(projects)s::text[], %(functions)s::text[]) AS w (project_id, function_id)
    JOIN functions f ON f.project_id = w.project_id AND f.function_id = w.function_id
    UNION ALL
    SELECT project_id, function_id, (policy #>> '{scaling,concurrency}')::integer FROM functions
    WHERE policy <> '{}' AND %(all)s
), vacant AS (
    SELECT
        t.project_id, t.function_id,
        least(CASE WHEN t.bound > 0 THEN greatest(t.bound - coalesce(r.count, 0), 0) END, %(most)s::integer) AS places
    FROM told t LEFT JOIN running r ON r.project_id = t.project_id AND r.function_id = t.function_id
)
SELECT next.stream_id FROM vacant v CROSS JOIN LATERAL (
    (
        SELECT x.stream_id, x.sequence FROM executions x
        WHERE x.status = 'waiting' AND x.project_id = v.project_id AND x.function_id = v.function_id
            AND (x.retry_at IS NULL OR x.retry_at <= now())
        ORDER BY x.scheduled_at, x.sequence LIMIT v.places
    )
    UNION ALL
    (
        SELECT x.stream_id, x.sequence FROM executions x
        WHERE x.status = 'scheduled' AND x.project_id = v.project_id AND x.function_id = v.function_id
            AND x.scheduled_at <= now()
        ORDER BY x.scheduled_at, x.sequence LIMIT v.places
    )
    ORDER BY sequence LIMIT v.places
) next;

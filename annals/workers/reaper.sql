-- name: holding
-- Every process that holds an execution or a build.
SELECT DISTINCT worker FROM (
    SELECT worker FROM executions WHERE status = 'processing'
    UNION ALL
    SELECT worker FROM deployments WHERE status IN ('processing', 'building')
) held;

-- name: held
-- What some processes hold.
SELECT stream_id, epoch, worker FROM executions WHERE status = 'processing' AND worker = ANY(%(workers)s::text[])
UNION ALL
SELECT stream_id, epoch, worker FROM deployments
WHERE status IN ('processing', 'building') AND worker = ANY(%(workers)s::text[]);

-- name: overdue
-- Executions that have run far longer than their function may, in the name of a process that lives.
SELECT x.stream_id, x.epoch FROM executions x
LEFT JOIN functions f
    ON f.project_id = x.project_id AND f.function_id = x.function_id AND f.sequence = x.function_sequence
WHERE x.status = 'processing'
    AND x.started_at < now() - make_interval(secs => coalesce(f.timeout, 0) + %(seconds)s::integer);

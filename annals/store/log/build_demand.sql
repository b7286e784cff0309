-- name: demand
-- What each project builds, its oldest waiting build and how long recent builds of that function took, in the order of their
-- arrival, beside the slots of all workers. A project with many waiting builds costs no more than a project with one.
WITH RECURSIVE waiting AS (
    (
        SELECT project_id, function_id, stream_id, queued_at, sequence FROM deployments
        WHERE status = 'waiting' AND queued_at IS NOT NULL ORDER BY project_id, queued_at, sequence LIMIT 1
    )
    UNION ALL
    SELECT following.* FROM waiting w CROSS JOIN LATERAL (
        SELECT d.project_id, d.function_id, d.stream_id, d.queued_at, d.sequence FROM deployments d
        WHERE d.status = 'waiting' AND d.queued_at IS NOT NULL AND d.project_id > w.project_id
        ORDER BY d.project_id, d.queued_at, d.sequence LIMIT 1
    ) following
), running AS (
    SELECT project_id, count(*)::integer AS running FROM deployments WHERE status IN ('processing', 'building')
    GROUP BY project_id
), tenants AS (
    SELECT
        project_id, coalesce(r.running, 0) AS running, coalesce(w.stream_id, '') AS waiting, w.queued_at, w.sequence,
        (
            SELECT coalesce(max(build_duration), 0) FROM (
                SELECT d.build_duration FROM deployments d
                WHERE d.project_id = w.project_id AND d.function_id = w.function_id AND d.build_ended_at IS NOT NULL
                ORDER BY d.sequence DESC LIMIT 3
            ) recent
        )::integer AS seconds
    FROM waiting w FULL JOIN running r USING (project_id)
)
SELECT
    coalesce(t.project_id, '') AS project_id, coalesce(t.running, 0) AS running, coalesce(t.waiting, '') AS waiting,
    coalesce(t.seconds, 0) AS seconds, capacity.slots, capacity.reserve
FROM (
    SELECT greatest(coalesce(sum(build_slots), 0), 1)::integer AS slots, coalesce(sum(build_reserve), 0)::integer AS reserve
    FROM leases
) capacity LEFT JOIN tenants t ON true
ORDER BY t.queued_at, t.sequence;

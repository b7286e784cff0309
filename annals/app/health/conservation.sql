-- name: ends_since
-- The newest event by a release that could leave work without an end when it deleted a function.
SELECT position_at(
    coalesce((SELECT applied_at FROM schema_migrations WHERE name = '0028_post_usage_calls.sql'), 'infinity')
) AS position;

-- name: executions
-- The newest accepted executions that ended not at all, more than once, or ended and count as open; and of those
-- from before every end was recorded (docs/adr/0027), the ones without an end.
WITH begun AS MATERIALIZED (
    SELECT originator_id AS stream, originator_version AS version, notification_id AS position, state,
        notification_id <= %(ends_since)s AS formerly
    FROM events
    WHERE notification_id > (SELECT coalesce(max(notification_id), 0) FROM events) - %(window)s
        AND topic = 'execution.requested'
), fate AS (
    SELECT b.stream, b.position, b.state, b.formerly, later.ends, later.deleted,
        EXISTS (
            SELECT FROM executions x
            WHERE x.stream_id = b.stream AND x.sequence = b.position
                AND x.status IN ('scheduled', 'waiting', 'processing')
        ) AS open
    FROM begun b CROSS JOIN LATERAL (
        SELECT
            count(*) FILTER (
                WHERE e.topic IN (
                    'execution.completed', 'execution.failed', 'execution.dead_lettered', 'execution.canceled'
                )
            ) AS ends,
            coalesce(bool_or(e.topic = 'execution.deleted'), false) AS deleted
        FROM events e
        WHERE e.originator_id = b.stream AND e.originator_version > b.version
            AND e.originator_version < coalesce(
                (
                    SELECT min(n.originator_version) FROM events n
                    WHERE n.originator_id = b.stream AND n.originator_version > b.version
                        AND n.topic = 'execution.requested'
                ),
                9223372036854775807
            )
    ) later
)
SELECT count(*) FILTER (WHERE ends + open::int > 1 OR (ends + open::int = 0 AND NOT deleted AND NOT formerly)) AS drift,
    coalesce(array_agg(split_part(stream, ':', 2)) FILTER (WHERE ends + open::int = 0 AND NOT deleted AND formerly), '{}')
        AS projects,
    coalesce(array_agg(state) FILTER (WHERE ends + open::int = 0 AND NOT deleted AND formerly), '{}') AS states
FROM fate;

-- name: of_functions
-- The number of older executions without an end whose functions exist: the others were removed with their functions.
SELECT count(*) AS number
FROM unnest(%(projects)s::text[], %(functions)s::text[], %(incarnations)s::bigint[]) AS e (project, function, incarnation)
JOIN functions f ON f.project_id = e.project AND f.function_id = e.function AND f.sequence = e.incarnation;

-- name: builds
-- The number of newest queued builds that neither ended exactly once nor are open.
WITH begun AS MATERIALIZED (
    SELECT originator_id AS stream, min(originator_version) AS version,
        max(notification_id) <= %(ends_since)s AS formerly
    FROM events
    WHERE notification_id > (SELECT coalesce(max(notification_id), 0) FROM events) - %(window)s
        AND topic = 'deployment.build_queued'
    GROUP BY originator_id
), fate AS (
    SELECT b.stream, later.ends, later.deleted,
        EXISTS (
            SELECT FROM deployments d WHERE d.stream_id = b.stream AND d.status IN ('waiting', 'processing', 'building')
        ) AS open,
        EXISTS (SELECT FROM abandoned_builds a WHERE a.stream_id = b.stream) AS abandoned,
        formerly AND NOT EXISTS (SELECT FROM deployments d WHERE d.stream_id = b.stream) AS swept
    FROM begun b CROSS JOIN LATERAL (
        SELECT
            count(*) FILTER (
                WHERE e.topic IN ('deployment.build_succeeded', 'deployment.build_failed', 'deployment.build_canceled')
            ) AS ends,
            coalesce(bool_or(e.topic = 'deployment.deleted'), false) AS deleted
        FROM events e WHERE e.originator_id = b.stream AND e.originator_version > b.version
    ) later
)
SELECT count(*) FILTER (
    WHERE NOT deleted AND ends + (open OR abandoned)::int <> 1 AND NOT (ends = 0 AND swept)
) AS drift FROM fate;

-- name: usage
-- The difference between counted and ended executions of the last hour, as far as they are counted.
WITH span AS MATERIALIZED (
    SELECT date_bin('15 minutes', now(), '2000-01-01T00:00:00Z') - interval '60 minutes' AS since,
        (SELECT position FROM checkpoints WHERE name = 'usage') AS booked
), counted AS (
    SELECT c.project_id AS project, sum(c.executions) AS executions FROM usage_cells c, span
    WHERE c.cube = 'total' AND c.grain = 15 AND c.bucket >= span.since GROUP BY c.project_id
), ended AS (
    SELECT e.project, count(*) AS executions FROM events e, span
    WHERE e.notification_id > position_at(span.since - interval '1 millisecond') AND e.notification_id <= span.booked
        AND e.topic IN ('execution.completed', 'execution.failed', 'execution.dead_lettered', 'execution.canceled')
        AND EXISTS (SELECT FROM projects p WHERE p.project_id = e.project AND p.sequence < e.notification_id)
    GROUP BY e.project
)
SELECT coalesce(sum(abs(coalesce(c.executions, 0) - coalesce(e.executions, 0))), 0)::bigint AS drift
FROM ended e FULL JOIN counted c ON c.project = e.project;

-- name: open
-- The number of accepted works of each kind that have not ended.
SELECT 'executions' AS kind, status, count(*) AS number FROM executions
WHERE status IN ('scheduled', 'waiting', 'processing') GROUP BY status
UNION ALL
SELECT 'builds', status, count(*) FROM deployments
WHERE status IN ('processing', 'building') OR (status = 'waiting' AND queued_at IS NOT NULL) GROUP BY status;

-- name: whole
-- Cells of the longest stretches that the periods are made of, each by the period that has most of it.
SELECT width_bucket(bucket, %({n}_edges)s::timestamptz[]) AS period, {columns} FROM {table}
WHERE {cells} AND bucket >= %({n}_since)s::timestamptz AND bucket < %({n}_until)s::timestamptz

-- name: moved
-- Shorter cells beside the edges of periods: to the period that they lie in, from that where the longer ones put them.
SELECT width_bucket(bucket, CASE WHEN sign > 0 THEN %({n}_edges)s ELSE %({n}_former)s END::timestamptz[]) AS period,
    {columns}
FROM {table} CROSS JOIN (VALUES (1), (-1)) AS signs (sign)
WHERE {cells} AND bucket = ANY(%({n}_beside)s::timestamptz[])

-- name: tail
-- What is not booked yet, by the minute.
SELECT width_bucket(bucket, %(edges)s::timestamptz[]) AS period, {columns}
FROM unnest(
    %(tail_function_id)s::text[], %(tail_function_sequence)s::bigint[], %(tail_deployment_id)s::text[],
    %(tail_trigger)s::text[], %(tail_status)s::text[], %(tail_reason)s::text[], %(tail_specification)s::text[],
    %(tail_minute)s::timestamptz[], %(tail_functions)s::bigint[], %(tail_deployments)s::bigint[],
    %(tail_deployments_storage)s::bigint[], %(tail_builds)s::bigint[], %(tail_builds_success)s::bigint[],
    %(tail_builds_failed)s::bigint[], %(tail_builds_storage)s::bigint[], %(tail_builds_time_ms)s::bigint[],
    %(tail_builds_mb_seconds)s::bigint[], %(tail_executions)s::bigint[], %(tail_executions_time_ms)s::bigint[],
    %(tail_executions_mb_seconds)s::bigint[], %(tail_errors)s::bigint[], %(tail_cold_starts)s::bigint[],
    %(tail_queue_ms)s::bigint[], %(tail_sketch)s::numeric[], %(tail_position)s::bigint[]
) AS unbooked (
    function_id, function_sequence, deployment_id, trigger, status, reason, specification, bucket, functions,
    deployments, deployments_storage, builds, builds_success, builds_failed, builds_storage, builds_time_ms,
    builds_mb_seconds, executions, executions_time_ms, executions_mb_seconds, errors, cold_starts, queue_ms,
    sketch, position
)
WHERE {cells}

-- name: alone
-- Sums by period, and in all, without groups: period 0 is what came before the first one, era 1 the periods compared
-- with, era 2 those asked for.
WITH keyed AS (
    SELECT CASE WHEN period = 0 THEN 0 WHEN period <= %(compared)s THEN 1 ELSE 2 END AS era, period, {sums}
    FROM ({parts}) AS cell
    GROUP BY period HAVING min(period) BETWEEN %(first)s AND %(last)s AND ({counted})
)
SELECT NULL::integer AS rank, era, period, {sent} FROM keyed GROUP BY GROUPING SETS ((era, period), (era))

-- name: ranked
-- By group and period, by group, by period, and in all. Groups beyond `top` are one, with rank 0. Groups are ranked
-- before their sketches are added up, so that each of these is added to one of few.
WITH keyed AS MATERIALIZED (
    SELECT period, {keys}, {counts}
    FROM ({countable}) AS cell
    GROUP BY {keys}, period HAVING min(period) BETWEEN %(first)s AND %(last)s AND ({counted})
), ranked AS (
    SELECT {keys}, row_number() OVER (
        ORDER BY sum({weight}) FILTER (WHERE period > %(compared)s OR %(running)s) DESC NULLS LAST, {keys}
    ) AS place
    FROM keyed GROUP BY {keys}
), places AS MATERIALIZED (
    SELECT {keys}, CASE WHEN place <= %(top)s THEN place ELSE 0 END AS rank FROM ranked
), placed AS MATERIALIZED (
    SELECT rank, CASE WHEN period = 0 THEN 0 WHEN period <= %(compared)s THEN 1 ELSE 2 END AS era, period,
        {named}, {sums}
    FROM {cells} JOIN places USING ({keys})
    GROUP BY rank, period HAVING min(period) BETWEEN %(first)s AND %(last)s AND ({counted})
), totals AS MATERIALIZED (
    SELECT rank, era, {named}, {sums} FROM placed GROUP BY rank, era
)
SELECT rank, era, period, {keys}, {told} FROM placed
UNION ALL
SELECT rank, era, NULL, {keys}, {told} FROM totals
UNION ALL
SELECT NULL, era, period, {named}, {sent} FROM placed GROUP BY era, period
UNION ALL
SELECT NULL, era, NULL, {named}, {sent} FROM totals GROUP BY era

-- name: whole
-- The longest cells, each for the period that has most of it.
SELECT width_bucket(bucket, %({n}_edges)s::timestamptz[]) AS period, {columns} FROM {table}
WHERE {cells} AND bucket >= %({n}_since)s::timestamptz AND bucket < %({n}_until)s::timestamptz

-- name: moved
-- Moves shorter cells beside the edges: from the period that got them with a longer cell, to their own period.
SELECT width_bucket(bucket, CASE WHEN sign > 0 THEN %({n}_edges)s ELSE %({n}_former)s END::timestamptz[]) AS period,
    {columns}
FROM {table} CROSS JOIN (VALUES (1), (-1)) AS signs (sign)
WHERE {cells} AND bucket = ANY(%({n}_beside)s::timestamptz[])

-- name: tail
-- Events that are not booked yet, by the minute.
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
-- Sums by period, and in all, without groups. Period 0 is everything before the first one; era 1 has the periods to
-- compare with, era 2 the wanted ones.
WITH keyed AS (
    SELECT CASE WHEN period = 0 THEN 0 WHEN period <= %(compared)s THEN 1 ELSE 2 END AS era, period, {sums}
    FROM ({parts}) AS cell
    GROUP BY period HAVING min(period) BETWEEN %(first)s AND %(last)s AND ({counted})
)
SELECT NULL::integer AS rank, era, period, {sent} FROM keyed GROUP BY GROUPING SETS ((era, period), (era))

-- name: ranked
-- Sums by group and period, by group, by period, and in all. Groups beyond `top` become one with rank 0. Groups are
-- ranked before sketches are added up, so that sketches are added for few groups only.
WITH keyed AS MATERIALIZED (
    SELECT period, {keys}, {counts}
    FROM ({countable}) AS cell
    GROUP BY {keys}, period HAVING min(period) BETWEEN %(first)s AND %(last)s AND ({counted})
), ranked AS (
    SELECT {keys}, row_number() OVER (
        ORDER BY sum({weight}) FILTER (WHERE period > %(compared)s OR %(running)s) DESC NULLS LAST, {keys}
    ) AS position
    FROM keyed GROUP BY {keys}
), chosen AS MATERIALIZED (
    SELECT {keys}, CASE WHEN position <= %(top)s THEN position ELSE 0 END AS rank FROM ranked
), grouped AS MATERIALIZED (
    SELECT rank, CASE WHEN period = 0 THEN 0 WHEN period <= %(compared)s THEN 1 ELSE 2 END AS era, period,
        {named}, {sums}
    FROM {cells} JOIN chosen USING ({keys})
    GROUP BY rank, period HAVING min(period) BETWEEN %(first)s AND %(last)s AND ({counted})
), totals AS MATERIALIZED (
    SELECT rank, era, {named}, {sums} FROM grouped GROUP BY rank, era
)
SELECT rank, era, period, {keys}, {values} FROM grouped
UNION ALL
SELECT rank, era, NULL, {keys}, {values} FROM totals
UNION ALL
SELECT NULL, era, period, {named}, {sent} FROM grouped GROUP BY era, period
UNION ALL
SELECT NULL, era, NULL, {named}, {sent} FROM totals GROUP BY era

-- name: deployments
-- The known deployments that a batch concerns, and all of the functions that it deletes.
SELECT project_id, deployment_id, function_id, function_sequence, source_bytes FROM usage_deployments
WHERE (project_id, deployment_id) IN (SELECT * FROM unnest(%(projects)s::text[], %(deployments)s::text[]))
    OR (project_id, function_id) IN (SELECT * FROM unnest(%(owners)s::text[], %(functions)s::text[]));

-- name: forget_projects
-- Deletes the sums and known deployments of deleted projects.
WITH gone AS (
    SELECT * FROM unnest(%(projects)s::text[]) AS gone (project_id)
), remembered AS (
    DELETE FROM usage_deployments USING gone WHERE usage_deployments.project_id = gone.project_id
)
DELETE FROM usage_totals USING gone WHERE usage_totals.project_id = gone.project_id;

-- name: forget_cells
-- Deletes the cells of deleted projects.
DELETE FROM {table} WHERE project_id = ANY(%(projects)s::text[]);

-- name: forget_deployments
-- Deletes known deployments that no longer exist.
DELETE FROM usage_deployments
WHERE (project_id, deployment_id) IN (SELECT * FROM unnest(%(projects)s::text[], %(deployments)s::text[]));

-- name: remember_deployments
-- Stores existing deployments with their source bytes.
INSERT INTO usage_deployments (project_id, deployment_id, function_id, function_sequence, source_bytes)
SELECT * FROM unnest(
    %(projects)s::text[], %(deployments)s::text[], %(functions)s::text[], %(sequences)s::bigint[], %(bytes)s::bigint[]
)
ON CONFLICT (project_id, deployment_id) DO UPDATE SET
    function_id = excluded.function_id, function_sequence = excluded.function_sequence,
    source_bytes = excluded.source_bytes;

-- name: add_totals
-- Adds a batch's sums to those over all time.
INSERT INTO usage_totals AS t (project_id, function_id, function_sequence, metric, value)
SELECT * FROM unnest(
    %(projects)s::text[], %(functions)s::text[], %(sequences)s::bigint[], %(metrics)s::text[],
    %(values)s::double precision[]
)
ON CONFLICT (project_id, function_id, function_sequence, metric) DO UPDATE SET value = t.value + excluded.value;

-- name: cells
-- Cells of minutes from JSON, which lacks sums that are zero.
WITH delta AS MATERIALIZED (
    SELECT * FROM json_to_recordset(%(cells)s::json) AS d (
        project_id text, function_id text, function_sequence bigint, deployment_id text, trigger text, status text,
        reason text, specification text, minute timestamptz, functions bigint, deployments bigint,
        deployments_storage bigint, builds bigint, builds_success bigint, builds_failed bigint, builds_storage bigint,
        builds_time_ms bigint, builds_mb_seconds bigint, executions bigint, executions_time_ms bigint,
        executions_mb_seconds bigint, errors bigint, cold_starts bigint, queue_ms bigint, sketch numeric,
        position bigint
    )
), cubes (cube, function, deployment, trigger, outcome, size) AS (
    VALUES
        ('all', true, true, true, true, true), ('place', true, true, false, false, false),
        ('call', true, false, true, false, false), ('outcome', false, false, true, true, false),
        ('size', false, false, false, false, true), ('total', false, false, false, false, false)
);

-- name: add_cells
-- Adds the cells to every cube of a table; keys that a cube lacks are empty.
INSERT INTO {table} AS c (
    project_id, cube, grain, bucket, function_id, function_sequence, deployment_id, trigger, status, reason,
    specification, functions, deployments, deployments_storage, builds, builds_success, builds_failed, builds_storage,
    builds_time_ms, builds_mb_seconds, executions, executions_time_ms, executions_mb_seconds, errors, cold_starts,
    queue_ms, sketch, position
)
SELECT
    d.project_id, s.cube, s.grain, date_bin(make_interval(mins => s.grain), d.minute, '2000-01-01T00:00:00Z'),
    CASE WHEN s.function THEN d.function_id ELSE '' END, CASE WHEN s.function THEN d.function_sequence ELSE 0 END,
    CASE WHEN s.deployment THEN d.deployment_id ELSE '' END, CASE WHEN s.trigger THEN d.trigger ELSE '' END,
    CASE WHEN s.outcome THEN d.status ELSE '' END, CASE WHEN s.outcome THEN d.reason ELSE '' END,
    CASE WHEN s.size THEN d.specification ELSE '' END,
    coalesce(sum(d.functions), 0), coalesce(sum(d.deployments), 0), coalesce(sum(d.deployments_storage), 0),
    coalesce(sum(d.builds), 0), coalesce(sum(d.builds_success), 0), coalesce(sum(d.builds_failed), 0),
    coalesce(sum(d.builds_storage), 0), coalesce(sum(d.builds_time_ms), 0), coalesce(sum(d.builds_mb_seconds), 0),
    coalesce(sum(d.executions), 0), coalesce(sum(d.executions_time_ms), 0), coalesce(sum(d.executions_mb_seconds), 0),
    coalesce(sum(d.errors), 0), coalesce(sum(d.cold_starts), 0), coalesce(sum(d.queue_ms), 0),
    coalesce(sum(d.sketch), 0), max(d.position)
FROM delta d CROSS JOIN (
    SELECT * FROM cubes CROSS JOIN unnest({grains}::integer[]) AS grains (grain)
    WHERE (cube = 'all' OR grain > 1) AND CASE WHEN cube <> 'call' THEN NOT {calls}
        ELSE {calls} AND EXISTS (SELECT FROM schema_migrations WHERE name = '0028_post_usage_calls.sql') END
) AS s
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
ON CONFLICT (
    project_id, cube, grain, bucket, function_id, function_sequence, deployment_id, trigger, status, reason,
    specification
) DO UPDATE SET
    functions = c.functions + excluded.functions, deployments = c.deployments + excluded.deployments,
    deployments_storage = c.deployments_storage + excluded.deployments_storage, builds = c.builds + excluded.builds,
    builds_success = c.builds_success + excluded.builds_success,
    builds_failed = c.builds_failed + excluded.builds_failed,
    builds_storage = c.builds_storage + excluded.builds_storage,
    builds_time_ms = c.builds_time_ms + excluded.builds_time_ms,
    builds_mb_seconds = c.builds_mb_seconds + excluded.builds_mb_seconds,
    executions = c.executions + excluded.executions,
    executions_time_ms = c.executions_time_ms + excluded.executions_time_ms,
    executions_mb_seconds = c.executions_mb_seconds + excluded.executions_mb_seconds,
    errors = c.errors + excluded.errors, cold_starts = c.cold_starts + excluded.cold_starts,
    queue_ms = c.queue_ms + excluded.queue_ms, sketch = c.sketch + excluded.sketch,
    position = greatest(c.position, excluded.position);

-- name: sweep
-- Deletes the minutes of swept executions; cells of a quarter of an hour and longer stay.
DELETE FROM usage_cells
WHERE project_id = %(project_id)s AND cube = 'all' AND grain = 1 AND function_id = %(function_id)s
    AND function_sequence = %(function_sequence)s AND position <= %(up_to)s;

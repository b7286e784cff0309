-- name: deployments
-- What is remembered of the deployments that a batch speaks of, and of all of the functions that it deletes.
SELECT project_id, deployment_id, function_id, function_sequence, source_bytes FROM usage_deployments
WHERE (project_id, deployment_id) IN (SELECT * FROM unnest(%(projects)s::text[], %(deployments)s::text[]))
    OR (project_id, function_id) IN (SELECT * FROM unnest(%(owners)s::text[], %(functions)s::text[]));

-- name: origins
-- How streams began, for events whose beginning lies before their batch; numbered by ord.
SELECT wanted.ord, e.notification_id, e.state
FROM unnest(%(streams)s::text[], %(versions)s::bigint[]) WITH ORDINALITY AS wanted (stream, version, ord)
CROSS JOIN LATERAL (
    SELECT notification_id, state FROM events
    WHERE originator_id = wanted.stream AND originator_version < wanted.version AND topic = ANY(%(topics)s::text[])
    ORDER BY originator_version DESC LIMIT 1
) e;

-- name: forget_projects
-- A deleted project's usage is gone with it.
WITH gone AS (
    SELECT * FROM unnest(%(projects)s::text[]) AS gone (project_id)
), remembered AS (
    DELETE FROM usage_deployments USING gone WHERE usage_deployments.project_id = gone.project_id
)
DELETE FROM usage_totals USING gone WHERE usage_totals.project_id = gone.project_id;

-- name: forget_deployments
-- Deployments that no longer exist.
DELETE FROM usage_deployments
WHERE (project_id, deployment_id) IN (SELECT * FROM unnest(%(projects)s::text[], %(deployments)s::text[]));

-- name: remember_deployments
-- Deployments that exist, with their source bytes.
INSERT INTO usage_deployments (project_id, deployment_id, function_id, function_sequence, source_bytes)
SELECT * FROM unnest(
    %(projects)s::text[], %(deployments)s::text[], %(functions)s::text[], %(sequences)s::bigint[], %(bytes)s::bigint[]
)
ON CONFLICT (project_id, deployment_id) DO UPDATE SET
    function_id = excluded.function_id, function_sequence = excluded.function_sequence,
    source_bytes = excluded.source_bytes;

-- name: add
-- A batch's sums, to those over all time.
INSERT INTO usage_totals AS t (project_id, function_id, function_sequence, metric, value)
SELECT * FROM unnest(
    %(projects)s::text[], %(functions)s::text[], %(sequences)s::bigint[], %(metrics)s::text[],
    %(values)s::double precision[]
)
ON CONFLICT (project_id, function_id, function_sequence, metric) DO UPDATE SET value = t.value + excluded.value;

-- name: booked
-- How far usage is booked, and whether there is the cube of calls; what follows in the transaction has room to add up
-- sketches, and hashes the many cells of which the planner expects few.
SELECT
    coalesce((SELECT position FROM checkpoints WHERE name = 'usage'), 0) AS position,
    EXISTS (SELECT FROM schema_migrations WHERE name = '0028_post_usage_calls.sql') AS calls,
    set_config('work_mem', '32MB', true), set_config('enable_sort', 'off', true) AS sort,
    set_config('enable_nestloop', 'off', true) AS nestloop, set_config('enable_seqscan', 'off', true) AS seqscan;

-- name: tail
-- A project's events that are not booked yet.
SELECT notification_id, recorded_at, project, originator_id, originator_version, topic, state FROM events
WHERE project = %(project_id)s AND notification_id > %(position)s ORDER BY notification_id LIMIT %(limit)s;

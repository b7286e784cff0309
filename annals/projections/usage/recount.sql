-- name: booked
-- The position up to which usage is booked, and whether the cube of calls exists. It also sets the planner for the
-- transaction: memory to add up sketches, and hashes, since there are more cells than the planner expects.
SELECT
    coalesce((SELECT position FROM checkpoints WHERE name = 'usage'), 0) AS position,
    EXISTS (SELECT FROM schema_migrations WHERE name = '0028_post_usage_calls.sql') AS calls,
    set_config('work_mem', '32MB', true), set_config('enable_sort', 'off', true) AS sort,
    set_config('enable_nestloop', 'off', true) AS nestloop, set_config('enable_seqscan', 'off', true) AS seqscan;

-- name: tail
-- A project's events after the follower's checkpoint.
SELECT notification_id, recorded_at, project, originator_id, originator_version, topic, state FROM events
WHERE project = %(project_id)s AND notification_id > coalesce((SELECT position FROM checkpoints WHERE name = 'usage'), 0)
ORDER BY notification_id LIMIT %(limit)s;

-- name: deployments_at
-- A project's deployments at a past position, with their source bytes.
SELECT v.id, v.image ->> 'function_id' AS function_id, (v.image ->> 'function_sequence')::bigint AS function_sequence,
    (v.image ->> 'source_size')::bigint AS source_bytes
FROM row_versions v
WHERE v.kind = 'deployments' AND v.project_id = %(project_id)s AND v.from_position <= %(position)s
    AND v.to_position > %(position)s
    AND (v.id = ANY(%(deployments)s::text[]) OR v.function_id = ANY(%(functions)s::text[]));

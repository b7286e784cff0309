-- name: rows
-- The schedules of the functions in a batch.
SELECT stream_id, project_id, function_id, function_sequence, schedule, deployment_id, schedule_next, schedule_previous
FROM schedules WHERE stream_id = ANY(%(streams)s::text[]) OR project_id = ANY(%(projects)s::text[]);

-- name: forget
-- Deletes the schedules of deleted functions.
DELETE FROM schedules WHERE stream_id = ANY(%(streams)s::text[]);

-- name: keep
-- Writes the schedules after a batch.
INSERT INTO schedules (
    stream_id, project_id, function_id, function_sequence, schedule, deployment_id, schedule_next, schedule_previous
)
SELECT * FROM unnest(
    %(stream_id)s::text[], %(project_id)s::text[], %(function_id)s::text[], %(function_sequence)s::bigint[],
    %(schedule)s::text[], %(deployment_id)s::text[], %(schedule_next)s::timestamptz[],
    %(schedule_previous)s::timestamptz[]
)
ON CONFLICT (stream_id) DO UPDATE SET
    project_id = excluded.project_id, function_id = excluded.function_id,
    function_sequence = excluded.function_sequence, schedule = excluded.schedule,
    deployment_id = excluded.deployment_id, schedule_next = excluded.schedule_next,
    schedule_previous = excluded.schedule_previous;

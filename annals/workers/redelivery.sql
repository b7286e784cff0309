-- name: waiting_executions
-- How many executions of each project wait for a worker, and the oldest (one-off runs by when they were due). Those of
-- functions that run as many as they may are left out: they are woken when one of these ends.
WITH full_functions AS MATERIALIZED (
    SELECT f.project_id, f.function_id FROM functions f
    WHERE f.policy <> '{}' AND (f.policy #>> '{scaling,concurrency}')::integer > 0
        AND (f.policy #>> '{scaling,concurrency}')::integer <= (
            SELECT count(*) FROM executions x
            WHERE x.status = 'processing' AND x.project_id = f.project_id AND x.function_id = f.function_id
        )
), runnable AS MATERIALIZED (
    SELECT project_id, function_id, stream_id, coalesce(retry_at, created_at) AS since, sequence FROM executions
    WHERE status = 'waiting' AND (retry_at IS NULL OR retry_at <= now())
    UNION ALL
    SELECT project_id, function_id, stream_id, scheduled_at, sequence FROM executions
    WHERE status = 'scheduled' AND scheduled_at <= now()
), numbered AS (
    SELECT project_id, stream_id, row_number() OVER (PARTITION BY project_id ORDER BY since, sequence) AS place
    FROM runnable WHERE (project_id, function_id) NOT IN (SELECT project_id, function_id FROM full_functions)
)
SELECT
    project_id AS lane, count(*) AS total,
    coalesce(array_agg(stream_id ORDER BY place) FILTER (WHERE place <= %(limit)s), '{}') AS oldest
FROM numbered GROUP BY project_id;

-- name: causes
-- Why some streams wait: the position of what queued them last, and its state, which tells the first request.
SELECT DISTINCT ON (originator_id)
    originator_id AS stream, notification_id AS position, state
FROM events WHERE originator_id = ANY(%(streams)s::text[]) AND topic = ANY(%(topics)s::text[])
ORDER BY originator_id, originator_version DESC;

-- name: due_executions
-- One-off executions, and further attempts, whose time came within the last moments.
SELECT stream_id FROM (
    SELECT stream_id, scheduled_at AS due, sequence FROM executions
    WHERE status = 'scheduled' AND scheduled_at <= now() AND scheduled_at > now() - make_interval(secs => %(seconds)s)
    UNION ALL
    SELECT stream_id, retry_at, sequence FROM executions
    WHERE retry_at <= now() AND retry_at > now() - make_interval(secs => %(seconds)s)
) came
ORDER BY due, sequence LIMIT %(limit)s;

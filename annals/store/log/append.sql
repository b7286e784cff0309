-- name: lock
-- Take the lock of all appends before any position is given out, and notify the followers at the commit.
SELECT pg_advisory_xact_lock(%(key)s), pg_notify('annals_events', '');

-- name: free_slots
-- How many more calls of each function with a bound may run at once; the number holds while the lock is held.
WITH wanted AS (
    SELECT f.project_id, f.function_id, (f.policy #>> '{scaling,concurrency}')::integer AS most
    FROM unnest(%(projects)b::text[], %(functions)b::text[]) AS w (project_id, function_id)
    JOIN functions f ON f.project_id = w.project_id AND f.function_id = w.function_id AND f.policy <> '{}'
), running AS MATERIALIZED (
    SELECT project_id, function_id FROM executions WHERE status = 'processing'
)
SELECT w.project_id, w.function_id, w.most - (
    SELECT count(*) FROM running r
    WHERE r.project_id = w.project_id AND r.function_id = w.function_id
)::integer AS free
FROM wanted w WHERE w.most > 0;

-- name: announce_freed_slot
-- Notify the calls that wait for a concurrency slot that one is free.
SELECT pg_notify('annals_places', %(slot)s);

-- name: insert
-- A batch of events in order; time is whole milliseconds and never decreases with position.
INSERT INTO events (originator_id, originator_version, topic, state, recorded_at)
SELECT i.stream, i.version, i.topic, i.state, clock.now
FROM unnest(%(streams)b::text[], %(versions)b::bigint[], %(topics)b::text[], %(states)b::bytea[])
        WITH ORDINALITY AS i (stream, version, topic, state, ord),
    (SELECT greatest(
        date_trunc('milliseconds', clock_timestamp()),
        (SELECT recorded_at FROM events ORDER BY notification_id DESC LIMIT 1)
    ) AS now OFFSET 0) AS clock
ORDER BY i.ord
RETURNING notification_id, recorded_at;

-- name: insert_winners
-- The same batch without the requests that have an event whose stream and version are stored already.
WITH i AS MATERIALIZED (
    SELECT *
    FROM unnest(%(requests)b::int[], %(streams)b::text[], %(versions)b::bigint[], %(topics)b::text[], %(states)b::bytea[])
        WITH ORDINALITY AS i (request, stream, version, topic, state, ord)
), lost AS MATERIALIZED (
    SELECT DISTINCT request FROM i
    WHERE EXISTS (SELECT FROM events e WHERE e.originator_id = i.stream AND e.originator_version = i.version)
), clock AS MATERIALIZED (
    SELECT greatest(
        date_trunc('milliseconds', clock_timestamp()),
        (SELECT recorded_at FROM events ORDER BY notification_id DESC LIMIT 1)
    ) AS now
)
INSERT INTO events (originator_id, originator_version, topic, state, recorded_at)
SELECT i.stream, i.version, i.topic, i.state, clock.now
FROM i, clock
WHERE NOT EXISTS (SELECT FROM lost WHERE lost.request = i.request)
ORDER BY i.ord
RETURNING notification_id, recorded_at, originator_id, originator_version;

-- name: insert_contents
-- The contents of a batch; they replace the contents of an earlier attempt of the same append.
INSERT INTO contents (stream, version, kind, digest, size, data, blob)
SELECT * FROM unnest(
    %(streams)b::text[], %(versions)b::bigint[], %(kinds)b::text[], %(digests)b::text[], %(sizes)b::bigint[],
    %(data)b::bytea[], %(blobs)b::text[]
)
ON CONFLICT (stream, version, kind) DO UPDATE
    SET digest = excluded.digest, size = excluded.size, data = excluded.data, blob = excluded.blob;

-- name: stored
-- The events stored under some streams and versions, to tell an append whose answer was lost from a conflict.
SELECT e.originator_id, e.originator_version, e.topic, e.state, e.notification_id, e.recorded_at
FROM unnest(%(streams)b::text[], %(versions)b::bigint[]) AS i (stream, version)
JOIN events e ON e.originator_id = i.stream AND e.originator_version = i.version;

-- name: projects
-- Fail unless the projects that a batch's requests were authorized for exist in these incarnations.
SELECT require_projects(%(projects)s::text[], %(incarnations)s::bigint[]);

-- name: data_keys
-- Fail unless the data keys that sealed a batch's values still belong to their projects.
SELECT require_data_keys(%(projects)s::text[], %(keys)s::text[]);

-- name: unchanged
-- Fail as a lost race unless the streams that a command read, and did not change, are at the versions that it read.
SELECT require_unchanged(%(streams)s::text[], %(versions)s::bigint[]);

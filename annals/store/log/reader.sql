-- name: streams
-- The streams of a command's keys: the newest snapshot of this program (topic NULL), then the events after it.
WITH wanted AS MATERIALIZED (
    SELECT i.stream, i.ord, snapshot.version, snapshot.state
    FROM unnest(%(streams)b::text[], %(shapes)b::text[]) WITH ORDINALITY AS i (stream, shape, ord)
    LEFT JOIN LATERAL (
        SELECT s.originator_version AS version, s.state FROM snapshots s
        WHERE i.shape <> '' AND s.originator_id = i.stream AND s.shape = i.shape
        ORDER BY s.originator_version DESC LIMIT 1
    ) snapshot ON true
)
SELECT ord, version, NULL AS topic, state FROM wanted WHERE version IS NOT NULL
UNION ALL
SELECT w.ord, e.version, e.topic, e.state
FROM wanted w CROSS JOIN LATERAL (
    SELECT originator_version AS version, topic, state FROM events
    WHERE originator_id = w.stream AND originator_version > coalesce(w.version, 0)
    ORDER BY originator_version
) e
ORDER BY ord, version;

-- name: stream_until
-- One stream up to a version or a position: the last snapshot of this program before it, then the events after that.
-- No rows for a stream without an event from `since` up to there.
WITH last AS MATERIALIZED (
    SELECT originator_version AS version FROM events
    WHERE originator_id = %(stream)s
        AND (%(version)s::bigint IS NULL OR originator_version <= %(version)s::bigint)
        AND (%(position)s::bigint IS NULL OR notification_id <= %(position)s::bigint)
        AND notification_id >= %(since)s::bigint
    ORDER BY originator_version DESC LIMIT 1
), snapshot AS MATERIALIZED (
    SELECT s.originator_version AS version, s.state FROM snapshots s
    WHERE s.originator_id = %(stream)s AND s.shape = %(shape)s AND s.originator_version <= (SELECT version FROM last)
    ORDER BY s.originator_version DESC LIMIT 1
)
SELECT version, NULL AS topic, state FROM snapshot
UNION ALL
SELECT originator_version, topic, state FROM events
WHERE originator_id = %(stream)s AND originator_version > coalesce((SELECT version FROM snapshot), 0)
    AND originator_version <= (SELECT version FROM last)
ORDER BY version;

-- name: length
-- A stream's last event by version and position, 0 for none; the version of the event at a position, or null; and the
-- version of the first event from another position on.
SELECT coalesce(max(originator_version), 0) AS length, coalesce(max(notification_id), 0) AS newest,
    max(originator_version) FILTER (WHERE notification_id = %(position)s) AS version,
    (
        SELECT originator_version FROM events WHERE originator_id = %(stream)s AND notification_id >= %(since)s
        ORDER BY originator_version LIMIT 1
    ) AS first
FROM (
    (SELECT originator_version, notification_id FROM events WHERE originator_id = %(stream)s
    ORDER BY originator_version DESC LIMIT 1)
    UNION ALL
    SELECT originator_version, notification_id FROM events
    WHERE notification_id = %(position)s AND originator_id = %(stream)s
) AS found;

-- name: of_stream
-- A stream's history, page by page.
SELECT notification_id, recorded_at, project, originator_id, originator_version, topic, state FROM events
WHERE originator_id = %(stream)s AND originator_version > %(after)s
ORDER BY originator_version LIMIT %(limit)s;

-- name: after
-- The next batch of the whole log.
SELECT notification_id, recorded_at, project, originator_id, originator_version, topic, state FROM events
WHERE notification_id > %(position)s AND (%(until)s::bigint IS NULL OR notification_id <= %(until)s::bigint)
ORDER BY notification_id LIMIT %(limit)s;

-- name: after_in_project
-- The next batch of one project's feed.
SELECT notification_id, recorded_at, project, originator_id, originator_version, topic, state FROM events
WHERE project = %(project)s AND notification_id > %(position)s
    AND (%(until)s::bigint IS NULL OR notification_id <= %(until)s::bigint)
ORDER BY notification_id LIMIT %(limit)s;

-- name: after_of_topics
-- The next batch of events of some topics, of one project or all.
SELECT notification_id, recorded_at, project, originator_id, originator_version, topic, state FROM events
WHERE notification_id > %(position)s AND topic = ANY(%(topics)s::text[])
    AND (%(project)s::text IS NULL OR project = %(project)s)
    AND (%(until)s::bigint IS NULL OR notification_id <= %(until)s::bigint)
ORDER BY notification_id LIMIT %(limit)s;

-- name: newest
-- The newest position. Gaps between visible positions never fill up later.
SELECT coalesce(max(notification_id), 0) AS position FROM events;

-- name: put_snapshot
-- Add a snapshot to the stream's older ones, which past states need, and delete those of other programs.
WITH others AS (
    DELETE FROM snapshots WHERE originator_id = %(stream)s AND shape <> %(shape)s
)
INSERT INTO snapshots (originator_id, originator_version, shape, state)
VALUES (%(stream)s, %(version)s, %(shape)s, %(state)s)
ON CONFLICT (originator_id, originator_version) DO UPDATE SET shape = excluded.shape, state = excluded.state;

-- name: stream
-- The events of a stream between two versions.
SELECT originator_id, originator_version, topic, state FROM events
WHERE originator_id = %(stream)s
    AND (%(gt)s::bigint IS NULL OR originator_version > %(gt)s::bigint)
    AND (%(lte)s::bigint IS NULL OR originator_version <= %(lte)s::bigint)
ORDER BY originator_version LIMIT %(limit)s;

-- name: stream_backwards
-- The same, newest first.
SELECT originator_id, originator_version, topic, state FROM events
WHERE originator_id = %(stream)s
    AND (%(gt)s::bigint IS NULL OR originator_version > %(gt)s::bigint)
    AND (%(lte)s::bigint IS NULL OR originator_version <= %(lte)s::bigint)
ORDER BY originator_version DESC LIMIT %(limit)s;

-- name: notifications
-- The events between two positions, of some topics or all.
SELECT notification_id AS id, originator_id, originator_version, topic, state FROM events
WHERE notification_id > %(after)s
    AND (%(stop)s::bigint IS NULL OR notification_id <= %(stop)s::bigint)
    AND (cardinality(%(topics)s::text[]) = 0 OR topic = ANY(%(topics)s::text[]))
ORDER BY notification_id LIMIT %(limit)s;

-- name: newest
-- The newest position, null for an empty log.
SELECT max(notification_id) FROM events;

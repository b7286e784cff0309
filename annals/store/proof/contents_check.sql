-- name: contents
-- The page of contents after one, by key, each with the position of its event.
SELECT c.stream, c.version, c.kind, c.digest, c.data, c.blob, coalesce(e.notification_id, 0) AS position
FROM contents c
LEFT JOIN events e ON e.originator_id = c.stream AND e.originator_version = c.version
WHERE (c.stream, c.version, c.kind) > (%(stream)s, %(version)s, %(kind)s)
ORDER BY c.stream, c.version, c.kind LIMIT %(limit)s;

-- name: archives
-- Sources and artefacts of deployments, each with the position of the deployment's creation.
SELECT stream_id AS stream, 'source' AS kind, source_digest AS digest, NULL::bytea AS data, source_key AS blob, sequence AS position
FROM deployments WHERE source_key <> ''
UNION ALL
SELECT stream_id, 'artefact', artefact_digest, NULL, artefact_key, sequence FROM deployments WHERE artefact_key <> ''
ORDER BY position, kind;

-- name: events
-- The events of some streams.
SELECT originator_id AS stream, topic, state FROM events WHERE originator_id = ANY(%(streams)s);

-- name: still
-- Whether a row still names a blob.
SELECT EXISTS (SELECT FROM contents WHERE blob = %(blob)s)
    OR EXISTS (SELECT FROM deployments WHERE source_key = %(blob)s)
    OR EXISTS (SELECT FROM deployments WHERE artefact_key = %(blob)s) AS still;

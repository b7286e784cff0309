-- name: contents
-- The page of contents after one, by key, of the streams of some events.
SELECT c.stream, c.version, c.kind, c.digest, c.size, c.data, c.blob FROM contents c
WHERE (c.stream, c.version, c.kind) > (%(stream)s, %(version)s, %(kind)s)
    AND (%(project)s = '' OR split_part(c.stream, ':', 2) = %(project)s)
    AND EXISTS (
        SELECT FROM events e WHERE e.originator_id = c.stream AND e.originator_version >= c.version
            AND e.notification_id > %(since)s AND e.notification_id <= %(until)s)
ORDER BY c.stream, c.version, c.kind LIMIT %(limit)s;

-- name: blobs
-- The sources and artefacts of existing deployments.
SELECT source_key AS key, source_digest AS digest FROM deployments
WHERE source_key <> '' AND (%(project)s = '' OR project_id = %(project)s)
UNION
SELECT artefact_key, artefact_digest FROM deployments
WHERE artefact_key <> '' AND (%(project)s = '' OR project_id = %(project)s)
ORDER BY key;

-- name: data_keys
-- All wrapped data keys.
SELECT project, key_id, wrapped, created_at::text AS created_at FROM data_keys ORDER BY project;

-- name: unreadable
-- The number of sealed values whose data key is missing; the second part of a sealed value is its key's id.
WITH sealed (kind, project, value) AS (
    SELECT 'variable', project_id, sealed FROM variables
    UNION ALL
    SELECT 'password', project_id, sealed_password FROM users WHERE sealed_password <> ''
    UNION ALL
    SELECT 'installation', p.project_id, convert_from(added.state, 'UTF8')::json -> 'installation' ->> 'sealed'
    FROM projects p
    JOIN events added ON added.originator_id = p.stream_id AND added.notification_id > p.sequence
    WHERE added.topic = 'project.installation_added' AND NOT EXISTS (
        SELECT FROM events removed
        WHERE removed.originator_id = p.stream_id AND removed.topic = 'project.installation_removed'
            AND removed.notification_id > added.notification_id
            AND convert_from(removed.state, 'UTF8')::json ->> 'installation_id'
                = convert_from(added.state, 'UTF8')::json -> 'installation' ->> 'installation_id')
)
SELECT
    count(*) FILTER (WHERE kind = 'variable') AS variables,
    count(*) FILTER (WHERE kind = 'password') AS passwords,
    count(*) FILTER (WHERE kind = 'installation') AS installations
FROM sealed
WHERE NOT EXISTS (
    SELECT FROM data_keys k WHERE k.project = sealed.project AND k.key_id = split_part(sealed.value, '.', 2));

-- name: newest_event
-- An event that the first start did not make: it makes projects and their keys, by the command line.
SELECT notification_id FROM events
WHERE CASE
    WHEN topic LIKE 'project.%%' THEN convert_from(state, 'UTF8')::json -> 'metadata' ->> 'actor' NOT LIKE 'cli%%'
    ELSE true
END
LIMIT 1;

-- name: empty
-- Empty the log for another one, from which the read models are rebuilt.
TRUNCATE events, snapshots, contents, data_keys, checkpoints, seal_tiles, seal_checkpoints, archive_segments;

-- name: copy_events
-- Events with their positions and times of another instance.
COPY events (notification_id, originator_id, originator_version, topic, state, recorded_at) FROM STDIN (FORMAT binary);

-- name: go_on
-- Continue after the last position.
SELECT setval('events_notification_id_seq', %(position)s);

-- name: add_content
-- A content of an event of another instance.
INSERT INTO contents (stream, version, kind, digest, size, data, blob)
VALUES (%(stream)s, %(version)s, %(kind)s, %(digest)s, %(size)s, %(data)s, %(blob)s);

-- name: add_data_key
-- A wrapped data key of the instance that was backed up.
INSERT INTO data_keys (project, key_id, wrapped, created_at)
VALUES (%(project)s, %(key_id)s, %(wrapped)s, %(created_at)s::timestamptz);

-- name: add_checkpoint
-- An earlier checkpoint, which is outside already.
INSERT INTO seal_checkpoints (size, position, root, note, signed_at, outside_at)
VALUES (%(size)s, %(position)s, %(root)s, %(note)s, %(signed_at)s, %(signed_at)s);

-- name: relay_from
-- Start the relay after the loaded events, so that it does not send their job messages again.
INSERT INTO checkpoints (name, position) VALUES ('relay', %(position)s);

-- name: hold
-- Pause a kind of work until a person resumes it.
INSERT INTO holds (name, reason) VALUES (%(name)s, %(reason)s)
ON CONFLICT (name) DO UPDATE SET reason = excluded.reason, since = now();

-- name: frontier
-- The last tile of each level, where the tree grows.
SELECT DISTINCT ON (level) level, index, hashes, first_position, offsets FROM seal_tiles
ORDER BY level, index DESC;

-- name: put_tile
-- Write a tile, or the same tile with more hashes.
INSERT INTO seal_tiles (level, index, hashes, first_position, offsets)
VALUES (%(level)s, %(index)s, %(hashes)s, %(first_position)s, %(offsets)s)
ON CONFLICT (level, index) DO UPDATE SET hashes = excluded.hashes, offsets = excluded.offsets;

-- name: tiles
-- Some tiles, by level and index.
SELECT t.level, t.index, t.hashes FROM seal_tiles t
JOIN unnest(%(levels)s::smallint[], %(indexes)s::bigint[]) AS i (level, index) USING (level, index);

-- name: upper_tiles
-- All tiles of a level above the leaves.
SELECT index, hashes FROM seal_tiles WHERE level = %(level)s ORDER BY index;

-- name: leaves
-- The next tiles of leaves, with their positions.
SELECT index, hashes, first_position, offsets FROM seal_tiles
WHERE level = 0 AND index >= %(from)s ORDER BY index LIMIT %(limit)s;

-- name: leaf_tile
-- The tile that has a position's leaf, if it is sealed.
SELECT index, hashes, first_position, offsets FROM seal_tiles
WHERE level = 0 AND first_position <= %(position)s ORDER BY first_position DESC LIMIT 1;

-- name: add_checkpoint
-- Add a signed checkpoint; another one of the same size has the same root.
INSERT INTO seal_checkpoints (size, position, root, note, signed_at)
VALUES (%(size)s, %(position)s, %(root)s, %(note)s, %(signed_at)s)
ON CONFLICT (size) DO NOTHING;

-- name: newest_checkpoint
-- The newest checkpoint, of all or of those up to a size.
SELECT size, position, root, note, signed_at, outside_at FROM seal_checkpoints
WHERE %(size)s::bigint IS NULL OR size <= %(size)s::bigint ORDER BY size DESC LIMIT 1;

-- name: checkpoint
-- One checkpoint by its size.
SELECT size, position, root, note, signed_at, outside_at FROM seal_checkpoints WHERE size = %(size)s;

-- name: checkpoints
-- All checkpoints, oldest first.
SELECT size, position, root, note, signed_at, outside_at FROM seal_checkpoints ORDER BY size;

-- name: inside_checkpoints
-- Checkpoints that are not written outside yet.
SELECT size, note FROM seal_checkpoints WHERE outside_at IS NULL ORDER BY size LIMIT %(limit)s;

-- name: went_outside
-- Note that checkpoints are written outside.
UPDATE seal_checkpoints SET outside_at = now() WHERE size = ANY(%(sizes)s);

-- name: sealed
-- Rows of the log after a position, as they are sealed.
SELECT notification_id, (extract(epoch FROM recorded_at) * 1000)::bigint AS recorded_ms,
    originator_id, originator_version, topic, state
FROM events
WHERE notification_id > %(position)s AND (%(until)s::bigint IS NULL OR notification_id <= %(until)s::bigint)
ORDER BY notification_id LIMIT %(limit)s;

-- name: row
-- One row of the log.
SELECT notification_id, (extract(epoch FROM recorded_at) * 1000)::bigint AS recorded_ms,
    originator_id, originator_version, topic, state
FROM events WHERE notification_id = %(position)s;

-- name: outside_size
-- The size of the newest checkpoint outside.
SELECT size FROM seal_checkpoints WHERE outside_at IS NOT NULL ORDER BY size DESC LIMIT 1;

-- name: leaves_of_log
-- The next rows of the log as parts of leaves. The length of the plain state belongs between head and names, the state
-- after the names. An append writes whole milliseconds and the stream's project: a row with other values is no event.
SELECT notification_id,
    '\x0001'::bytea || int8send(notification_id) || int8send((extract(epoch FROM recorded_at) * 1000)::bigint)
        || int8send(originator_version) || int2send(octet_length(originator_id)::int2)
        || int2send(octet_length(topic)::int2) AS head,
    convert_to(originator_id, 'UTF8') || convert_to(topic, 'UTF8') AS names, state,
    recorded_at = date_trunc('milliseconds', recorded_at) AND project = split_part(originator_id, ':', 2) AS as_appended
FROM events WHERE notification_id > %s ORDER BY notification_id LIMIT %s;

-- name: unsealed
-- How many events are newer than the seal.
SELECT count(*) FROM events WHERE notification_id > %(position)s;

-- name: note_signing
-- Write the signed position beside the followers.
INSERT INTO checkpoints AS c (name, position, error)
VALUES (%(name)s, coalesce(%(position)s::bigint, 0), %(error)s)
ON CONFLICT (name) DO UPDATE
    SET position = coalesce(%(position)s::bigint, c.position), error = excluded.error, updated_at = now();

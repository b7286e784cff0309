-- name: segments
-- The archives in order.
SELECT first_leaf, end_leaf, first_position, last_position, last_recorded_at, blob, digest, size, root
FROM archive_segments ORDER BY first_leaf;

-- name: archived
-- The position up to which events may have left the log's table.
SELECT coalesce(max(last_position), 0) AS position FROM archive_segments;

-- name: add_segment
-- Name a segment of the blob store; from now on readers read its events there.
INSERT INTO archive_segments
    (first_leaf, end_leaf, first_position, last_position, last_recorded_at, blob, digest, size, root)
VALUES (%(first_leaf)s, %(end_leaf)s, %(first_position)s, %(last_position)s, %(last_recorded_at)s,
    %(blob)s, %(digest)s, %(size)s, %(root)s);

-- name: drop_leaves
-- Delete the hashes of archived leaves, which follow from the segment's events.
DELETE FROM seal_tiles WHERE level = 0 AND index >= %(first)s AND index < %(end)s;

-- name: drop_events
-- Delete whole archived executions without a read model's row; all other streams stay, since commands fold them.
DELETE FROM events e
WHERE e.notification_id <= %(last)s AND e.topic LIKE 'execution.%%'
    AND NOT EXISTS (SELECT FROM executions x WHERE x.stream_id = e.originator_id)
    AND NOT EXISTS (
        SELECT FROM events later
        WHERE later.originator_id = e.originator_id AND later.notification_id > %(last)s
    );

-- name: old_enough
-- The newest position from before a moment that an outside checkpoint covers.
SELECT least(position_at(%(before)s),
    (SELECT coalesce(max(position), 0) FROM seal_checkpoints WHERE outside_at IS NOT NULL)) AS position;

-- name: next_tiles
-- The full tiles of leaves after the archived ones, without the last tile of all.
SELECT index, hashes, first_position, offsets FROM seal_tiles
WHERE level = 0 AND index >= %(from)s AND index < (SELECT max(index) FROM seal_tiles WHERE level = 0)
ORDER BY index LIMIT %(limit)s;

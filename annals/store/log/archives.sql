-- name: segments
-- The archived stretches in order.
SELECT first_leaf, end_leaf, first_position, last_position, last_recorded_at, blob, digest, size, root
FROM archive_segments ORDER BY first_leaf;

-- name: archived
-- Up to which position events may have moved out of the log's table.
SELECT coalesce(max(last_position), 0) AS position FROM archive_segments;

-- name: add_segment
-- Name a stretch that lies in the blob store; from here on readers take it from there.
INSERT INTO archive_segments
    (first_leaf, end_leaf, first_position, last_position, last_recorded_at, blob, digest, size, root)
VALUES (%(first_leaf)s, %(end_leaf)s, %(first_position)s, %(last_position)s, %(last_recorded_at)s,
    %(blob)s, %(digest)s, %(size)s, %(root)s);

-- name: drop_leaves
-- The hashes of archived leaves: they are those of the events in the segment.
DELETE FROM seal_tiles WHERE level = 0 AND index >= %(first)s AND index < %(end)s;

-- name: drop_events
-- Whole archived executions that are in no read model any more; all other streams stay, commands fold them.
DELETE FROM events e
WHERE e.notification_id <= %(last)s AND e.topic LIKE 'execution.%%'
    AND NOT EXISTS (SELECT FROM executions x WHERE x.stream_id = e.originator_id)
    AND NOT EXISTS (
        SELECT FROM events later
        WHERE later.originator_id = e.originator_id AND later.notification_id > %(last)s
    );

-- name: old_enough
-- The newest position that was recorded before a moment and lies behind no outside checkpoint.
SELECT least(position_at(%(before)s),
    (SELECT coalesce(max(position), 0) FROM seal_checkpoints WHERE outside_at IS NOT NULL)) AS position;

-- name: next_tiles
-- The full tiles of leaves that follow the archived ones, the last tile of all left out.
SELECT index, hashes, first_position, offsets FROM seal_tiles
WHERE level = 0 AND index >= %(from)s AND index < (SELECT max(index) FROM seal_tiles WHERE level = 0)
ORDER BY index LIMIT %(limit)s;

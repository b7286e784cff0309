-- name: lock
-- Lock and read a follower's position; the lock holds back a second copy, and ends if the process stops in mid-batch.
SELECT position, set_config('idle_in_transaction_session_timeout', %(idle)s, true) FROM checkpoints
WHERE name = %(name)s FOR UPDATE;

-- name: add
-- Start a follower that never ran before the first event.
INSERT INTO checkpoints (name) VALUES (%(name)s) ON CONFLICT (name) DO NOTHING;

-- name: move
-- Move the position in the transaction that handled the events up to there.
UPDATE checkpoints SET position = %(position)s, error = '', updated_at = now() WHERE name = %(name)s;

-- name: move_from
-- Lock and move in one statement, unless another process moved the position; the lock ends as that of `lock`.
UPDATE checkpoints SET position = %(position)s, error = '', updated_at = now()
WHERE name = %(name)s AND position = %(former)s
RETURNING set_config('idle_in_transaction_session_timeout', %(idle)s, true);

-- name: note
-- Show why a follower stopped, also before its first event, unless another copy of it went on meanwhile.
INSERT INTO checkpoints AS c (name, position, error) VALUES (%(name)s, %(position)s, %(error)s)
ON CONFLICT (name) DO UPDATE SET error = excluded.error, updated_at = now() WHERE c.position = excluded.position;

-- name: next
-- The first event after a position.
SELECT notification_id FROM events WHERE notification_id > %(position)s ORDER BY notification_id LIMIT 1;

-- name: position
-- The position of a follower.
SELECT position FROM checkpoints WHERE name = %(name)s;

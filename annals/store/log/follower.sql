-- name: lock
-- Where a follower is; the row's lock holds back a second copy of it, and ends with a process that stops in mid-batch.
SELECT position, set_config('idle_in_transaction_session_timeout', %(idle)s, true) FROM checkpoints
WHERE name = %(name)s FOR UPDATE;

-- name: add
-- A follower that never ran begins before the first event.
INSERT INTO checkpoints (name) VALUES (%(name)s) ON CONFLICT (name) DO NOTHING;

-- name: move
-- What was handled up to here is done, in the transaction that did it.
UPDATE checkpoints SET position = %(position)s, error = '', updated_at = now() WHERE name = %(name)s;

-- name: move_from
-- Lock and move in one, unless it is elsewhere than this follower knows it to be; ends as `lock` does.
UPDATE checkpoints SET position = %(position)s, error = '', updated_at = now()
WHERE name = %(name)s AND position = %(former)s
RETURNING set_config('idle_in_transaction_session_timeout', %(idle)s, true);

-- name: note
-- Show why a follower stands still, the first event included, unless another copy of it went on meanwhile.
INSERT INTO checkpoints AS c (name, position, error) VALUES (%(name)s, %(position)s, %(error)s)
ON CONFLICT (name) DO UPDATE SET error = excluded.error, updated_at = now() WHERE c.position = excluded.position;

-- name: next
-- The first event after a position.
SELECT notification_id FROM events WHERE notification_id > %(position)s ORDER BY notification_id LIMIT 1;

-- name: position
-- How far a follower is.
SELECT position FROM checkpoints WHERE name = %(name)s;

-- name: newest
-- The end of the log, where inline models always are.
SELECT coalesce(max(notification_id), 0) AS position FROM events;

-- name: booked
-- How far a follower is.
SELECT position FROM checkpoints WHERE name = %(name)s;

-- name: hold
-- How far a follower is, which is where it stays while the row is locked.
SELECT position FROM checkpoints WHERE name = %(name)s FOR UPDATE;

-- name: add
-- A checkpoint for a follower that never ran.
INSERT INTO checkpoints (name) VALUES (%(name)s) ON CONFLICT (name) DO NOTHING;

-- name: move
-- A follower goes on behind what was rebuilt.
UPDATE checkpoints SET position = %(position)s, error = '', updated_at = now() WHERE name = %(name)s;

-- name: newest
-- The end of the log, which is the position of the inline models.
SELECT coalesce(max(notification_id), 0) AS position FROM events;

-- name: booked
-- The position of a follower.
SELECT position FROM checkpoints WHERE name = %(name)s;

-- name: lock
-- The position of a follower, which stays while the row is locked.
SELECT position FROM checkpoints WHERE name = %(name)s FOR UPDATE;

-- name: add
-- Adds the checkpoint of a follower that never ran.
INSERT INTO checkpoints (name) VALUES (%(name)s) ON CONFLICT (name) DO NOTHING;

-- name: move
-- Moves a follower to the position of its rebuilt tables.
UPDATE checkpoints SET position = %(position)s, error = '', updated_at = now() WHERE name = %(name)s;

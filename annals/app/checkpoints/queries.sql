-- name: listed
-- Checkpoints as lists show them: their size is their id and their order.
SELECT size, size::text AS checkpoint_id, size AS sequence, position, root, note,
    signed_at AS created_at, signed_at AS updated_at
FROM seal_checkpoints;

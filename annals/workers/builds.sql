-- name: keep_piece
-- A piece of a running build's output; a build that was canceled, lost or deleted takes no more.
INSERT INTO build_logs (stream_id, epoch, seq, chunk)
SELECT d.stream_id, %(epoch)s, %(seq)s, %(chunk)s FROM deployments d
WHERE d.stream_id = %(stream)s AND d.epoch = %(epoch)s AND d.status IN ('processing', 'building')
ON CONFLICT (stream_id, epoch, seq) DO NOTHING;

-- name: drop_pieces
-- What a reader would no longer see: former attempts, and the beginning of output that is too long.
DELETE FROM build_logs WHERE stream_id = %(stream)s AND (epoch < %(epoch)s OR (epoch = %(epoch)s AND seq < %(seq)s));

-- name: activates
-- Whether a build that ends now is to become active (a newer deployment may have taken the flag meanwhile), which one is
-- active, and whether that is newer.
SELECT d.activate, coalesce(a.deployment_id, '') AS answering, coalesce(a.sequence > d.sequence, false) AS newer
FROM deployments d
JOIN functions f ON f.project_id = d.project_id AND f.function_id = d.function_id AND f.sequence = d.function_sequence
LEFT JOIN deployments a ON a.project_id = f.project_id AND a.deployment_id = f.deployment_id
WHERE d.stream_id = %(stream)s;

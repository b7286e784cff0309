-- name: abandoned_builds
-- Builds that had not ended as their function went: of one function, of a project, or all, a batch at a time.
SELECT stream_id, function_sequence, build_started_at FROM abandoned_builds
WHERE (%(project_id)s = '' OR project_id = %(project_id)s) AND (%(function_id)s = '' OR function_id = %(function_id)s)
ORDER BY function_sequence, stream_id LIMIT %(limit)s;

-- name: builds_ended
-- Their ends are recorded.
DELETE FROM abandoned_builds b
USING unnest(%(stream_id)s::text[], %(function_sequence)s::bigint[]) AS ended (stream_id, function_sequence)
WHERE b.stream_id = ended.stream_id AND b.function_sequence = ended.function_sequence;

-- name: abandoned_executions
-- Executions that have not ended and whose function is gone, of one function or of a project, a batch at a time.
SELECT x.stream_id, x.function_sequence, x.sequence FROM executions x
LEFT JOIN functions f
    ON f.project_id = x.project_id AND f.function_id = x.function_id AND f.sequence = x.function_sequence
WHERE x.status IN ('scheduled', 'waiting', 'processing') AND x.project_id = %(project_id)s
    AND (%(function_id)s = '' OR x.function_id = %(function_id)s)
    AND x.sequence > %(after)s AND f.sequence IS NULL
ORDER BY x.sequence LIMIT %(limit)s;

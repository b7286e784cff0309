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

-- name: some_functions
-- Functions of a project, a batch at a time.
SELECT function_id AS id FROM functions WHERE project_id = %(project_id)s ORDER BY sequence LIMIT %(limit)s;

-- name: some_teams
-- Teams of a project, a batch at a time.
SELECT team_id AS id FROM teams WHERE project_id = %(project_id)s ORDER BY sequence LIMIT %(limit)s;

-- name: some_users
-- Users of a project, a batch at a time.
SELECT user_id AS id FROM users WHERE project_id = %(project_id)s ORDER BY sequence LIMIT %(limit)s;

-- name: empty
-- A project holds no function, team or user: else one came after the others were deleted, and its deletion is refused.
SELECT require_empty_project(%(project_id)s);

-- name: end_idempotency_keys
-- The idempotency keys of a project are over: the next sweep forgets them with their answers.
UPDATE idempotency_keys SET created_at = 'epoch' WHERE project_id = %(project_id)s AND created_at > 'epoch';

-- name: unfinished
-- What a project has accepted and has not ended: its executions and builds.
SELECT 'execution' AS kind, stream_id FROM executions
WHERE project_id = %(project_id)s AND status IN ('scheduled', 'waiting', 'processing')
UNION ALL
SELECT 'deployment', stream_id FROM deployments
WHERE project_id = %(project_id)s
    AND (status IN ('processing', 'building') OR (status = 'waiting' AND queued_at IS NOT NULL));

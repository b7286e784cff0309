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

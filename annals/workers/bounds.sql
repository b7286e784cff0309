-- name: bounds
-- Functions that may run only so many calls at once.
SELECT project_id, function_id, (policy #>> '{scaling,concurrency}')::integer AS concurrency FROM functions
WHERE policy <> '{}' AND (policy #>> '{scaling,concurrency}')::integer > 0;

-- name: next
-- The oldest executions of a function that wait and may run.
SELECT stream_id FROM executions
WHERE project_id = %(project)s AND function_id = %(function)s
    AND status = 'waiting' AND (retry_at IS NULL OR retry_at <= now())
ORDER BY sequence LIMIT %(limit)s;

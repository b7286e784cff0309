-- name: bounded
-- Functions that may run only so many calls at once.
SELECT project_id, function_id FROM functions
WHERE policy <> '{}' AND (policy #>> '{scaling,concurrency}')::integer > 0;

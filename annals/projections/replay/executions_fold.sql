-- name: shape
-- Which columns rows are written with, and of which types.
SELECT * FROM executions LIMIT 0;

-- name: fetch
-- Executions that a batch goes on with; it writes them anew.
DELETE FROM executions WHERE stream_id = ANY(%(streams)s::text[]) RETURNING *;

-- name: keep
-- Executions as a batch leaves them.
COPY executions FROM STDIN (FORMAT BINARY);

-- name: count
-- How many more executions the functions that exist have; a function that went is not counted for.
INSERT INTO counters AS c (project_id, scope, name, value)
SELECT f.project_id, f.function_id, 'executions', d.value
FROM json_to_recordset(%(deltas)s::json) AS d (function text, sequence bigint, value bigint)
JOIN functions f ON f.stream_id = d.function AND f.sequence = d.sequence
ON CONFLICT (project_id, scope, name) DO UPDATE SET value = c.value + excluded.value;

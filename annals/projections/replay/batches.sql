-- name: shape
-- The columns of executions, with their types.
SELECT * FROM executions LIMIT 0;

-- name: fetch
-- Takes the executions that a batch changes out of the table; the batch writes them again.
DELETE FROM executions WHERE stream_id = ANY(%(streams)s::text[]) RETURNING *;

-- name: write
-- Writes executions as a batch leaves them.
COPY executions FROM STDIN (FORMAT BINARY);

-- name: count
-- Adds to the number of executions of each existing function.
INSERT INTO counters AS c (project_id, scope, name, value)
SELECT f.project_id, f.function_id, 'executions', d.value
FROM json_to_recordset(%(deltas)s::json) AS d (function text, sequence bigint, value bigint)
JOIN functions f ON f.stream_id = d.function AND f.sequence = d.sequence
ON CONFLICT (project_id, scope, name) DO UPDATE SET value = c.value + excluded.value;

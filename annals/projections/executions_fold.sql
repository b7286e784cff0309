-- name: rows
-- Executions as they are before a batch that goes on with them.
SELECT * FROM executions WHERE stream_id = ANY(%(streams)s::text[]);

-- name: drop
-- Executions that a batch changes or removes.
DELETE FROM executions WHERE stream_id = ANY(%(streams)s::text[]);

-- name: keep
-- Executions as a batch leaves them.
INSERT INTO executions SELECT * FROM json_populate_recordset(NULL::executions, %(rows)s::json);

-- name: count
-- How many more executions the functions that exist have; a function that went is not counted for.
INSERT INTO counters AS c (project_id, scope, name, value)
SELECT f.project_id, f.function_id, 'executions', d.value
FROM json_to_recordset(%(deltas)s::json) AS d (function text, sequence bigint, value bigint)
JOIN functions f ON f.stream_id = d.function AND f.sequence = d.sequence
ON CONFLICT (project_id, scope, name) DO UPDATE SET value = c.value + excluded.value;

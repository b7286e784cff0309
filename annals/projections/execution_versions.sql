-- name: rows
-- Executions as they are before a batch that goes on with them.
SELECT * FROM execution_versions WHERE stream_id = ANY(%(streams)s::text[]) AND to_position = 9223372036854775807;

-- name: end
-- Versions that a batch ends.
UPDATE execution_versions v SET to_position = ended.at
FROM unnest(%(streams)s::text[], %(begun)s::bigint[], %(ended)s::bigint[]) AS ended (stream, begun, at)
WHERE v.stream_id = ended.stream AND v.from_position = ended.begun;

-- name: keep
-- The versions that a batch makes.
INSERT INTO execution_versions SELECT * FROM json_populate_recordset(NULL::execution_versions, %(rows)s::json);

-- name: sweep
-- Retention removed a function's oldest executions: all of them when the function is gone, else those that ended.
UPDATE execution_versions SET to_position = %(position)s
WHERE project_id = %(project_id)s AND function_id = %(function_id)s AND function_sequence = %(function_sequence)s
    AND sequence <= %(up_to)s AND (%(all)s OR status IN ('completed', 'failed'))
    AND to_position = 9223372036854775807;

-- name: letters
-- Dead letters of a project's functions that are there, oldest first: of one function, or some of them, where that is asked.
SELECT x.* FROM executions x
JOIN functions f
    ON f.project_id = x.project_id AND f.function_id = x.function_id AND f.sequence = x.function_sequence
WHERE x.project_id = %(project)s AND x.dead_reason <> '' AND x.sequence > %(after)s
    AND (%(function)s = '' OR x.function_id = %(function)s)
    AND (%(ids)s::text[] IS NULL OR x.execution_id = ANY(%(ids)s::text[]))
ORDER BY x.sequence LIMIT %(limit)s;

-- name: total
-- How many there are.
SELECT count(*) AS total FROM executions x
JOIN functions f
    ON f.project_id = x.project_id AND f.function_id = x.function_id AND f.sequence = x.function_sequence
WHERE x.project_id = %(project)s AND x.dead_reason <> '' AND (%(function)s = '' OR x.function_id = %(function)s);

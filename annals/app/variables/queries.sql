-- name: variables
-- Variables by project, function and id.
SELECT wanted.ord, v.*
FROM unnest(%s::text[], %s::text[], %s::text[]) WITH ORDINALITY AS wanted (project_id, function_id, variable_id, ord)
JOIN variables v ON v.project_id = wanted.project_id AND v.function_id = wanted.function_id
    AND v.variable_id = wanted.variable_id;

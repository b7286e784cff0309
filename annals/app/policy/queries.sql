-- name: policies
-- Policies by project and function id.
SELECT wanted.ord, f.project_id, f.function_id, f.sequence, f.policy
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (project_id, function_id, ord)
JOIN functions f ON f.project_id = wanted.project_id AND f.function_id = wanted.function_id;

-- name: statuses
-- The status of some deployments of a function, as far as they exist.
SELECT deployment_id, status FROM {table} WHERE {project} AND {id} = ANY(%s::text[]) AND function_sequence = %s;

-- name: of_function
-- The scopes of functions' code.
SELECT wanted.ord, f.scopes
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (project_id, function_id, ord)
JOIN functions f ON f.project_id = wanted.project_id AND f.function_id = wanted.function_id;

-- name: of_project
-- The scopes that the code of a project's functions has, each once.
SELECT wanted.ord, array_agg(DISTINCT scope) AS scopes
FROM unnest(%s::text[]) WITH ORDINALITY AS wanted (project_id, ord)
JOIN functions f ON f.project_id = wanted.project_id
CROSS JOIN LATERAL unnest(f.scopes) AS scope
GROUP BY wanted.ord;

-- name: of_installation
-- The scopes of the code of functions that are connected through installations, each once.
SELECT wanted.ord, array_agg(DISTINCT scope) AS scopes
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (project_id, installation_id, ord)
JOIN functions f ON f.project_id = wanted.project_id AND f.installation_id = wanted.installation_id
CROSS JOIN LATERAL unnest(f.scopes) AS scope
GROUP BY wanted.ord;

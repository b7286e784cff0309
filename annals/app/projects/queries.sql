-- name: projects
-- Projects by id.
SELECT wanted.ord, p.* FROM unnest(%s::text[]) WITH ORDINALITY AS wanted (project_id, ord)
JOIN projects p ON p.project_id = wanted.project_id;

-- name: keys
-- A project's keys, oldest first.
SELECT wanted.ord, k.* FROM unnest(%s::text[]) WITH ORDINALITY AS wanted (project_id, ord)
JOIN keys k ON k.project_id = wanted.project_id ORDER BY k.sequence;

-- name: platforms
-- A project's platforms, oldest first.
SELECT wanted.ord, p.* FROM unnest(%s::text[]) WITH ORDINALITY AS wanted (project_id, ord)
JOIN platforms p ON p.project_id = wanted.project_id ORDER BY p.sequence;

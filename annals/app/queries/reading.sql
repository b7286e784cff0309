-- name: counter
-- An unfiltered total, counted by the projections.
SELECT wanted.ord, c.value
FROM unnest(%s::text[], %s::text[], %s::text[]) WITH ORDINALITY AS wanted (project_id, scope, name, ord)
JOIN counters c ON c.project_id = wanted.project_id AND c.scope = wanted.scope AND c.name = wanted.name;

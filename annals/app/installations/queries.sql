-- name: installations
-- Installations by project and id.
SELECT wanted.ord, i.*
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (project_id, installation_id, ord)
JOIN installations i ON i.project_id = wanted.project_id AND i.installation_id = wanted.installation_id;

-- name: connected
-- Functions that are connected to a repository, by any of its names.
SELECT
    f.function_id, f.sequence, f.entrypoint, f.commands, f.installation_id, f.provider_repository_id,
    f.provider_branch, f.provider_root_directory, f.provider_silent_mode, f.provider_branches, f.provider_paths
FROM functions f
WHERE f.project_id = %(project_id)s AND f.installation_id = %(installation_id)s
    AND f.provider_repository_id = ANY(%(names)s::text[]) AND f.provider_repository_id <> ''
ORDER BY f.sequence;

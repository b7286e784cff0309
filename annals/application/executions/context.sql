-- name: active
-- Functions by project and id, each with the deployment that answers; for many keys at once, numbered by ord.
SELECT
    wanted.ord, f.stream_id, f.sequence, f.version, p.variables_version AS project_version, f.project_id, f.function_id, f.name, f.runtime, f.execute, f.enabled,
    f.logging, f.timeout, f.scopes, f.build_specification, f.runtime_specification, f.policy, d.provider_repository_id,
    d.provider_root_directory, d.stream_id AS deployment_stream, d.deployment_id, d.created_at AS deployment_created_at,
    d.status, d.type, d.entrypoint, d.commands, d.activate, d.source_key, d.source_digest, d.source_size,
    d.artefact_key, d.artefact_digest, d.build_size, d.provider_repository_name, d.provider_repository_owner,
    d.provider_repository_url, d.provider_branch, d.provider_branch_url, d.provider_commit_hash,
    d.provider_commit_message, d.provider_commit_url, d.provider_commit_author, d.provider_commit_author_url
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (project_id, function_id, ord)
JOIN functions f ON f.project_id = wanted.project_id AND f.function_id = wanted.function_id
JOIN projects p ON p.project_id = f.project_id
LEFT JOIN deployments d ON d.project_id = f.project_id AND d.deployment_id = f.deployment_id;

-- name: of_deployment
-- The same with a deployment of any status, by project and deployment id; nothing when its function is gone.
SELECT
    wanted.ord, f.stream_id, f.sequence, f.version, p.variables_version AS project_version, f.project_id, f.function_id, f.name, f.runtime, f.execute, f.enabled,
    f.logging, f.timeout, f.scopes, f.build_specification, f.runtime_specification, f.policy, d.provider_repository_id,
    d.provider_root_directory, d.stream_id AS deployment_stream, d.deployment_id, d.created_at AS deployment_created_at,
    d.status, d.type, d.entrypoint, d.commands, d.activate, d.source_key, d.source_digest, d.source_size,
    d.artefact_key, d.artefact_digest, d.build_size, d.provider_repository_name, d.provider_repository_owner,
    d.provider_repository_url, d.provider_branch, d.provider_branch_url, d.provider_commit_hash,
    d.provider_commit_message, d.provider_commit_url, d.provider_commit_author, d.provider_commit_author_url
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (project_id, deployment_id, ord)
JOIN deployments d ON d.project_id = wanted.project_id AND d.deployment_id = wanted.deployment_id
JOIN functions f ON f.project_id = d.project_id AND f.function_id = d.function_id AND f.sequence = d.function_sequence
JOIN projects p ON p.project_id = f.project_id;

-- name: variables
-- The sealed variables of a function and of its project, with the versions of both that have exactly these.
SELECT
    f.sequence, f.version, p.variables_version AS project_version, v.ids, v.functions, v.keys, v.sealed
FROM functions f
JOIN projects p ON p.project_id = f.project_id
CROSS JOIN LATERAL (
    SELECT
        coalesce(array_agg(variable_id ORDER BY function_id <> '', sequence), '{}') AS ids,
        coalesce(array_agg(function_id ORDER BY function_id <> '', sequence), '{}') AS functions,
        coalesce(array_agg(key ORDER BY function_id <> '', sequence), '{}') AS keys,
        coalesce(array_agg(sealed ORDER BY function_id <> '', sequence), '{}') AS sealed
    FROM variables WHERE project_id = f.project_id AND function_id IN (f.function_id, '')
) v
WHERE f.stream_id = %s;

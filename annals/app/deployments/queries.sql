-- name: logs
-- A deployment's log as columns: its pieces while it builds, the whole text (or its blob) after.
(
    SELECT string_agg(b.chunk, '' ORDER BY b.seq) FROM build_logs b
    WHERE deployments.logs_version = 0 AND b.stream_id = deployments.stream_id AND b.epoch = deployments.epoch
) AS log_pieces,
{kept_log}

-- name: kept_log
-- The whole log of an ended build with its digest and blob, as columns of a select on
-- deployments.
(
    SELECT c.data FROM contents c
    WHERE c.stream = deployments.stream_id AND c.version = deployments.logs_version AND c.kind = 'build'
) AS log_data,
(
    SELECT c.digest || ' ' || coalesce(c.blob, '') FROM contents c
    WHERE c.stream = deployments.stream_id AND c.version = deployments.logs_version AND c.kind = 'build'
) AS log_place

-- name: deployments
-- Deployments by project and id, each of an existing function.
SELECT wanted.ord, deployments.*, {logs}
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (project_id, deployment_id, ord)
JOIN deployments ON deployments.project_id = wanted.project_id AND deployments.deployment_id = wanted.deployment_id;

-- name: functions
-- The fields that a new deployment takes from its function.
SELECT
    wanted.ord, f.sequence, f.entrypoint, f.commands, f.installation_id, f.provider_repository_id, f.provider_branch,
    f.provider_root_directory, f.provider_silent_mode
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (project_id, function_id, ord)
JOIN functions f ON f.project_id = wanted.project_id AND f.function_id = wanted.function_id;

-- name: upload_started
-- Adds a deployment, the latest of its function. If it is to be activated, it clears that flag of the others.
WITH made AS (
    INSERT INTO deployments (
        stream_id, version, sequence, project_id, deployment_id, function_id, function_sequence, type, entrypoint,
        commands, activate, status, upload_size, provider_repository_name, provider_repository_owner,
        provider_repository_url, provider_commit_hash, provider_commit_author_url, provider_commit_author,
        provider_commit_message, provider_commit_url, provider_branch, provider_branch_url, provider_repository_id,
        provider_root_directory, created_at, updated_at
    )
    SELECT
        %(stream)s, %(version)s, e.notification_id, f.project_id, %(deployment_id)s, f.function_id, f.sequence, %(type)s,
        %(entrypoint)s, %(commands)s, %(activate)s, 'waiting', %(size)s, %(repository_name)s, %(repository_owner)s,
        %(repository_url)s, %(commit_hash)s, %(commit_author_url)s, %(commit_author)s, %(commit_message)s,
        %(commit_url)s, %(branch)s, %(branch_url)s, %(repository_id)s, %(root_directory)s, e.recorded_at, e.recorded_at
    FROM events e
    JOIN functions f ON f.stream_id = %(function)s AND f.sequence = %(function_sequence)s
    WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
    ON CONFLICT (stream_id) DO NOTHING
    RETURNING *
), counted AS (
    INSERT INTO counters AS c (project_id, scope, name, value)
    SELECT project_id, function_id, 'deployments', 1 FROM made
    ON CONFLICT (project_id, scope, name) DO UPDATE SET value = c.value + 1
), latest AS (
    UPDATE functions f SET
        latest_deployment_id = made.deployment_id, latest_deployment_created_at = made.created_at,
        latest_deployment_status = made.status,
        updated_at = greatest(made.created_at, f.updated_at + interval '1 millisecond')
    FROM made WHERE f.stream_id = %(function)s
), flags AS (
    UPDATE deployments d SET
        activate = false, updated_at = greatest(made.created_at, d.updated_at + interval '1 millisecond')
    FROM made
    WHERE made.activate AND d.project_id = made.project_id AND d.function_id = made.function_id AND d.activate
)
SELECT * FROM made;

-- name: source_fetched
-- Sets a fetched source and its resolved origin.
UPDATE deployments d SET
    version = %(version)s,
    source_key = %(source_key)s,
    source_digest = %(source_digest)s,
    source_size = %(source_size)s,
    provider_repository_name = %(repository_name)s,
    provider_repository_owner = %(repository_owner)s,
    provider_repository_url = %(repository_url)s,
    provider_commit_hash = %(commit_hash)s,
    provider_commit_author_url = %(commit_author_url)s,
    provider_commit_author = %(commit_author)s,
    provider_commit_message = %(commit_message)s,
    provider_commit_url = %(commit_url)s,
    provider_branch = %(branch)s,
    provider_branch_url = %(branch_url)s,
    provider_repository_id = %(repository_id)s,
    provider_root_directory = %(root_directory)s,
    updated_at = greatest(e.recorded_at, d.updated_at + interval '1 millisecond')
FROM events e
WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
    AND d.stream_id = %(stream)s AND d.version < %(version)s
RETURNING d.*;

-- name: changed
-- Changes a deployment; null keeps a column. The status of the latest deployment is copied to its function.
WITH changed AS (
    UPDATE deployments d SET
        version = %(version)s,
        status = coalesce(%(status)s, d.status),
        source_key = coalesce(%(source_key)s, d.source_key),
        source_digest = coalesce(%(source_digest)s, d.source_digest),
        source_size = coalesce(%(source_size)s::bigint, d.source_size),
        artefact_key = coalesce(%(artefact_key)s, d.artefact_key),
        artefact_digest = coalesce(%(artefact_digest)s, d.artefact_digest),
        build_size = coalesce(%(artefact_size)s::bigint, d.build_size),
        build_duration = coalesce(%(seconds)s::integer, d.build_duration),
        worker = coalesce(%(worker)s, d.worker),
        epoch = coalesce(%(epoch)s::integer, d.epoch),
        reason = coalesce(%(reason)s, d.reason),
        logs_version = CASE WHEN %(logged)s THEN %(version)s ELSE d.logs_version END,
        queued_at = CASE WHEN %(moment)s = 'queued' THEN e.recorded_at ELSE d.queued_at END,
        build_started_at = CASE %(moment)s
            WHEN 'started' THEN e.recorded_at WHEN 'queued' THEN NULL ELSE d.build_started_at
        END,
        build_ended_at = CASE WHEN %(moment)s = 'ended' THEN e.recorded_at ELSE d.build_ended_at END,
        updated_at = greatest(e.recorded_at, d.updated_at + interval '1 millisecond')
    FROM events e
    WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
        AND d.stream_id = %(stream)s AND d.version < %(version)s
    RETURNING d.*
), latest AS (
    UPDATE functions f SET
        latest_deployment_status = changed.status,
        updated_at = greatest(changed.updated_at, f.updated_at + interval '1 millisecond')
    FROM changed
    WHERE f.project_id = changed.project_id AND f.function_id = changed.function_id
        AND f.latest_deployment_id = changed.deployment_id AND f.latest_deployment_status <> changed.status
)
SELECT * FROM changed;

-- name: deleted
-- Deletes a deployment; the newest remaining one becomes the function's latest.
WITH gone AS (
    DELETE FROM deployments WHERE stream_id = %(stream)s AND version < %(version)s
    RETURNING stream_id, project_id, deployment_id, function_id
), counted AS (
    UPDATE counters c SET value = c.value - 1 FROM gone
    WHERE c.project_id = gone.project_id AND c.scope = gone.function_id AND c.name = 'deployments'
), newest AS (
    SELECT d.deployment_id, d.created_at, d.status FROM gone
    JOIN deployments d USING (project_id, function_id)
    WHERE d.stream_id <> gone.stream_id
    ORDER BY d.sequence DESC LIMIT 1
)
UPDATE functions f SET
    latest_deployment_id = coalesce(newest.deployment_id, ''),
    latest_deployment_created_at = newest.created_at,
    latest_deployment_status = coalesce(newest.status, ''),
    updated_at = greatest(e.recorded_at, f.updated_at + interval '1 millisecond')
FROM gone
JOIN events e ON e.originator_id = gone.stream_id AND e.originator_version = %(version)s
LEFT JOIN newest ON true
WHERE f.project_id = gone.project_id AND f.function_id = gone.function_id
    AND f.latest_deployment_id = gone.deployment_id;

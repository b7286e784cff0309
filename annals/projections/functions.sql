-- name: created
-- A function begins; what another incarnation of its id had counted starts anew.
WITH made AS (
    INSERT INTO functions (
        stream_id, version, sequence, project_id, function_id, name, runtime, execute, events, schedule, timeout,
        enabled, logging, entrypoint, commands, scopes, installation_id, provider_repository_id, provider_branch,
        provider_root_directory, provider_silent_mode, provider_branches, provider_paths, build_specification,
        runtime_specification, deployment_retention, live, created_at, updated_at
    )
    SELECT
        %(stream)s, %(version)s, e.notification_id, %(project_id)s, %(function_id)s, %(name)s, %(runtime)s,
        %(execute)s::text[], %(events)s::text[], %(schedule)s, %(timeout)s, %(enabled)s, %(logging)s, %(entrypoint)s,
        %(commands)s, %(scopes)s::text[], %(installation_id)s, %(provider_repository_id)s, %(provider_branch)s,
        %(provider_root_directory)s, %(provider_silent_mode)s, %(provider_branches)s::text[], %(provider_paths)s::text[],
        %(build_specification)s, %(runtime_specification)s, %(deployment_retention)s, true, e.recorded_at, e.recorded_at
    FROM events e WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
    ON CONFLICT (stream_id) DO NOTHING
    RETURNING *
), counted AS (
    INSERT INTO counters AS c (project_id, scope, name, value)
    SELECT project_id, '', 'functions', 1 FROM made
    ON CONFLICT (project_id, scope, name) DO UPDATE SET value = c.value + 1
)
SELECT * FROM made;

-- name: updated
-- A function has another configuration.
UPDATE functions f SET
    version = %(version)s, name = %(name)s, runtime = %(runtime)s, execute = %(execute)s::text[],
    events = %(events)s::text[], schedule = %(schedule)s, timeout = %(timeout)s, enabled = %(enabled)s,
    logging = %(logging)s, entrypoint = %(entrypoint)s, commands = %(commands)s, scopes = %(scopes)s::text[],
    installation_id = %(installation_id)s, provider_repository_id = %(provider_repository_id)s,
    provider_branch = %(provider_branch)s, provider_root_directory = %(provider_root_directory)s,
    provider_silent_mode = %(provider_silent_mode)s, provider_branches = %(provider_branches)s::text[],
    provider_paths = %(provider_paths)s::text[], build_specification = %(build_specification)s,
    runtime_specification = %(runtime_specification)s, deployment_retention = %(deployment_retention)s,
    live = %(live)s, updated_at = greatest(e.recorded_at, f.updated_at + interval '1 millisecond')
FROM events e
WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
    AND f.stream_id = %(stream)s AND f.version < %(version)s
RETURNING f.*;

-- name: policy_changed
-- A function's calls are run in another way; what clients see of the function itself stays.
UPDATE functions f SET version = %(version)s, policy = %(policy)s::jsonb
WHERE f.stream_id = %(stream)s AND f.version < %(version)s
RETURNING f.*;

-- name: activated
-- Executions go to another deployment (to none, when it was deleted at the same moment); only a build makes it live.
UPDATE functions f SET
    version = %(version)s, deployment_id = coalesce(d.deployment_id, ''), deployment_created_at = d.created_at,
    live = f.live OR %(built)s, updated_at = greatest(e.recorded_at, f.updated_at + interval '1 millisecond')
FROM events e LEFT JOIN deployments d ON d.stream_id = %(deployment)s
WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
    AND f.stream_id = %(stream)s AND f.version < %(version)s
RETURNING f.*;

-- name: deactivated
-- No deployment answers.
UPDATE functions f SET
    version = %(version)s, deployment_id = '', deployment_created_at = NULL,
    updated_at = greatest(e.recorded_at, f.updated_at + interval '1 millisecond')
FROM events e
WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
    AND f.stream_id = %(stream)s AND f.version < %(version)s
RETURNING f.*;

-- name: deleted
-- A function is gone with its variables, deployments and rules; its executions are swept later, in batches.
WITH gone AS (
    DELETE FROM functions WHERE stream_id = %(stream)s AND version < %(version)s RETURNING project_id, function_id
), its_variables AS (
    DELETE FROM variables v USING gone WHERE v.project_id = gone.project_id AND v.function_id = gone.function_id
), its_deployments AS (
    DELETE FROM deployments d USING gone WHERE d.project_id = gone.project_id AND d.function_id = gone.function_id
), its_rules AS (
    DELETE FROM rules r USING gone WHERE r.project_id = gone.project_id AND r.function_id = gone.function_id
), its_counters AS (
    DELETE FROM counters c USING gone WHERE c.project_id = gone.project_id AND c.scope = gone.function_id
)
UPDATE counters c SET value = c.value - 1 FROM gone
WHERE c.project_id = gone.project_id AND c.scope = '' AND c.name = 'functions';

-- name: variables_of
-- The variables as they are after a change of their function, for the answer.
SELECT * FROM variables WHERE project_id = %(project_id)s AND function_id = %(function_id)s ORDER BY sequence;

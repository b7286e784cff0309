-- name: created
-- Adds a function; the counters of a former incarnation of its id start again.
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
-- Replaces a function's configuration.
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
-- Replaces a function's policy; clients see no change of the function itself.
UPDATE functions f SET version = %(version)s, policy = %(policy)s::jsonb
WHERE f.stream_id = %(stream)s AND f.version < %(version)s
RETURNING f.*;

-- name: activated
-- Activates a deployment, or none if it was deleted at the same moment. Only a build makes the function live.
UPDATE functions f SET
    version = %(version)s, deployment_id = coalesce(d.deployment_id, ''), deployment_created_at = d.created_at,
    live = f.live OR %(built)s, updated_at = greatest(e.recorded_at, f.updated_at + interval '1 millisecond')
FROM events e LEFT JOIN deployments d ON d.stream_id = %(deployment)s
WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
    AND f.stream_id = %(stream)s AND f.version < %(version)s
RETURNING f.*;

-- name: deactivated
-- Leaves a function without an active deployment.
UPDATE functions f SET
    version = %(version)s, deployment_id = '', deployment_created_at = NULL,
    updated_at = greatest(e.recorded_at, f.updated_at + interval '1 millisecond')
FROM events e
WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
    AND f.stream_id = %(stream)s AND f.version < %(version)s
RETURNING f.*;

-- name: deleted
-- Deletes a function with its variables, deployments and rules; its executions are swept later, in batches.
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
-- The variables after a change of their function, for the answer.
SELECT * FROM variables WHERE project_id = %(project_id)s AND function_id = %(function_id)s ORDER BY sequence;

-- name: variable_added
-- Adds a variable; the active build no longer has the function's configuration.
WITH owner AS (
    UPDATE functions f SET
        version = %(version)s, live = false, updated_at = greatest(e.recorded_at, f.updated_at + interval '1 millisecond')
    FROM events e
    WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
        AND f.stream_id = %(stream)s AND f.version < %(version)s
    RETURNING f.project_id, f.function_id, f.sequence AS function_sequence, e.notification_id, e.recorded_at
), added AS (
    INSERT INTO variables (
        project_id, variable_id, function_id, function_sequence, sequence, version, key, sealed, secret, created_at,
        updated_at
    )
    SELECT
        project_id, %(variable_id)s, function_id, function_sequence, notification_id, %(version)s, %(key)s, %(sealed)s,
        %(secret)s, recorded_at, recorded_at
    FROM owner
    RETURNING *
), counted AS (
    INSERT INTO counters AS c (project_id, scope, name, value)
    SELECT project_id, function_id, 'variables', 1 FROM added
    ON CONFLICT (project_id, scope, name) DO UPDATE SET value = c.value + 1
)
SELECT * FROM added;

-- name: variable_changed
-- Changes key, value or secrecy of a variable.
WITH owner AS (
    UPDATE functions f SET
        version = %(version)s, live = false, updated_at = greatest(e.recorded_at, f.updated_at + interval '1 millisecond')
    FROM events e
    WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
        AND f.stream_id = %(stream)s AND f.version < %(version)s
    RETURNING f.project_id, e.recorded_at
)
UPDATE variables v SET
    version = %(version)s, key = %(key)s, sealed = %(sealed)s, secret = %(secret)s,
    updated_at = greatest(owner.recorded_at, v.updated_at + interval '1 millisecond')
FROM owner WHERE v.project_id = owner.project_id AND v.variable_id = %(variable_id)s
RETURNING v.*;

-- name: variable_removed
-- Deletes a variable.
WITH owner AS (
    UPDATE functions f SET
        version = %(version)s, live = false, updated_at = greatest(e.recorded_at, f.updated_at + interval '1 millisecond')
    FROM events e
    WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
        AND f.stream_id = %(stream)s AND f.version < %(version)s
    RETURNING f.project_id
), gone AS (
    DELETE FROM variables v USING owner WHERE v.project_id = owner.project_id AND v.variable_id = %(variable_id)s
    RETURNING v.project_id, v.function_id
)
UPDATE counters c SET value = c.value - 1 FROM gone
WHERE c.project_id = gone.project_id AND c.scope = gone.function_id AND c.name = 'variables';

-- name: rule_created
-- Adds a rule, unless its function was deleted at the same moment.
INSERT INTO rules (
    stream_id, version, sequence, project_id, rule_id, domain, function_id, function_sequence, branch, created_at,
    updated_at
)
SELECT
    %(stream)s, %(version)s, e.notification_id, f.project_id, %(rule_id)s, %(domain)s, f.function_id, f.sequence,
    %(branch)s, e.recorded_at, e.recorded_at
FROM events e
JOIN functions f ON f.stream_id = %(function)s AND f.sequence = %(function_sequence)s
WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
ON CONFLICT (stream_id) DO NOTHING
RETURNING *;

-- name: rule_deleted
-- Deletes a rule.
DELETE FROM rules WHERE stream_id = %(stream)s AND version < %(version)s;

-- name: created
-- Adds a project.
INSERT INTO projects (stream_id, version, sequence, project_id, name, created_at, updated_at)
SELECT %(stream)s, %(version)s, e.notification_id, %(project_id)s, %(name)s, e.recorded_at, e.recorded_at
FROM events e WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
ON CONFLICT (stream_id) DO NOTHING
RETURNING *;

-- name: renamed
-- Renames a project.
UPDATE projects p
SET version = %(version)s, name = %(name)s, updated_at = greatest(e.recorded_at, p.updated_at + interval '1 millisecond')
FROM events e
WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
    AND p.stream_id = %(stream)s AND p.version < %(version)s
RETURNING p.*;

-- name: deleted
-- Deletes a project and its rows; its executions are swept later, in batches.
WITH gone AS (
    DELETE FROM projects WHERE stream_id = %(stream)s AND version < %(version)s RETURNING project_id
), its_keys AS (
    DELETE FROM keys USING gone WHERE keys.project_id = gone.project_id
), its_functions AS (
    DELETE FROM functions USING gone WHERE functions.project_id = gone.project_id
), its_variables AS (
    DELETE FROM variables USING gone WHERE variables.project_id = gone.project_id
), its_deployments AS (
    DELETE FROM deployments USING gone WHERE deployments.project_id = gone.project_id
), its_platforms AS (
    DELETE FROM platforms USING gone WHERE platforms.project_id = gone.project_id
), its_installations AS (
    DELETE FROM installations USING gone WHERE installations.project_id = gone.project_id
), its_users AS (
    DELETE FROM users USING gone WHERE users.project_id = gone.project_id
), its_sessions AS (
    DELETE FROM sessions USING gone WHERE sessions.project_id = gone.project_id
), its_teams AS (
    DELETE FROM teams USING gone WHERE teams.project_id = gone.project_id
), its_rules AS (
    DELETE FROM rules USING gone WHERE rules.project_id = gone.project_id
), its_memberships AS (
    DELETE FROM memberships USING gone WHERE memberships.project_id = gone.project_id
)
DELETE FROM counters USING gone WHERE counters.project_id = gone.project_id;

-- name: key_added
-- Adds a key of a project.
INSERT INTO keys (project_id, key_id, sequence, name, digest, scopes, expires_at, created_at)
SELECT p.project_id, %(key_id)s, e.notification_id, %(name)s, %(digest)s, %(scopes)s::text[], %(expires_at)s, e.recorded_at
FROM events e JOIN projects p ON p.stream_id = e.originator_id
WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
ON CONFLICT (project_id, key_id) DO NOTHING
RETURNING *;

-- name: key_revoked
-- Deletes a key.
DELETE FROM keys USING projects p
WHERE p.stream_id = %(stream)s AND keys.project_id = p.project_id AND keys.key_id = %(key_id)s;

-- name: service_switched
-- Switches a service on or off for users and guests.
UPDATE projects p SET
    version = %(version)s,
    disabled = CASE WHEN %(enabled)s::boolean THEN array_remove(p.disabled, %(service)s::text)
        ELSE array_append(array_remove(p.disabled, %(service)s::text), %(service)s::text) END,
    updated_at = greatest(e.recorded_at, p.updated_at + interval '1 millisecond')
FROM events e
WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
    AND p.stream_id = %(stream)s AND p.version < %(version)s
RETURNING p.*;

-- name: platform_added
-- Adds a platform.
WITH owner AS (
    UPDATE projects p SET version = %(version)s
    FROM events e
    WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
        AND p.stream_id = %(stream)s AND p.version < %(version)s
    RETURNING p.project_id, e.notification_id, e.recorded_at
)
INSERT INTO platforms (project_id, platform_id, sequence, type, name, hostname, key, store, created_at)
SELECT
    project_id, %(platform_id)s, notification_id, %(type)s, %(name)s, %(hostname)s, %(key)s, %(store)s, recorded_at
FROM owner
RETURNING *;

-- name: platform_removed
-- Deletes a platform.
WITH owner AS (
    UPDATE projects SET version = %(version)s
    WHERE stream_id = %(stream)s AND version < %(version)s
    RETURNING project_id
)
DELETE FROM platforms USING owner
WHERE platforms.project_id = owner.project_id AND platforms.platform_id = %(platform_id)s;

-- name: variable_added
-- Adds a variable of all functions; its row has no function.
WITH owner AS (
    UPDATE projects p SET version = %(version)s, variables_version = %(version)s
    FROM events e
    WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
        AND p.stream_id = %(stream)s AND p.version < %(version)s
    RETURNING p.project_id, e.notification_id, e.recorded_at
)
INSERT INTO variables (
    project_id, variable_id, function_id, function_sequence, sequence, version, key, sealed, secret, created_at, updated_at
)
SELECT
    project_id, %(variable_id)s, '', 0, notification_id, %(version)s, %(key)s, %(sealed)s, %(secret)s, recorded_at,
    recorded_at
FROM owner
RETURNING *;

-- name: variable_changed
-- Changes key, value or secrecy of a variable of all functions.
WITH owner AS (
    UPDATE projects p SET version = %(version)s, variables_version = %(version)s
    FROM events e
    WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
        AND p.stream_id = %(stream)s AND p.version < %(version)s
    RETURNING p.project_id, e.recorded_at
)
UPDATE variables v SET
    version = %(version)s, key = %(key)s, sealed = %(sealed)s, secret = %(secret)s,
    updated_at = greatest(owner.recorded_at, v.updated_at + interval '1 millisecond')
FROM owner WHERE v.project_id = owner.project_id AND v.function_id = '' AND v.variable_id = %(variable_id)s
RETURNING v.*;

-- name: variable_removed
-- Deletes a variable of all functions.
WITH owner AS (
    UPDATE projects SET version = %(version)s, variables_version = %(version)s
    WHERE stream_id = %(stream)s AND version < %(version)s
    RETURNING project_id
)
DELETE FROM variables v USING owner
WHERE v.project_id = owner.project_id AND v.function_id = '' AND v.variable_id = %(variable_id)s;

-- name: installation_added
-- Adds an installation.
WITH owner AS (
    UPDATE projects p SET version = %(version)s
    FROM events e
    WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
        AND p.stream_id = %(stream)s AND p.version < %(version)s
    RETURNING p.project_id, e.notification_id, e.recorded_at
)
INSERT INTO installations (
    project_id, installation_id, sequence, provider, organization, url, app_id, provider_installation_id, created_at,
    updated_at
)
SELECT
    project_id, %(installation_id)s, notification_id, %(provider)s, %(organization)s, %(url)s, %(app_id)s,
    %(provider_installation_id)s, recorded_at, recorded_at
FROM owner
RETURNING *;

-- name: installation_removed
-- Deletes an installation.
WITH owner AS (
    UPDATE projects SET version = %(version)s
    WHERE stream_id = %(stream)s AND version < %(version)s
    RETURNING project_id
)
DELETE FROM installations i USING owner
WHERE i.project_id = owner.project_id AND i.installation_id = %(installation_id)s;

-- name: created
-- A project begins.
INSERT INTO projects (stream_id, version, sequence, project_id, name, created_at, updated_at)
SELECT %(stream)s, %(version)s, e.notification_id, %(project_id)s, %(name)s, e.recorded_at, e.recorded_at
FROM events e WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
ON CONFLICT (stream_id) DO NOTHING
RETURNING *;

-- name: renamed
-- A project has another name.
UPDATE projects p
SET version = %(version)s, name = %(name)s, updated_at = greatest(e.recorded_at, p.updated_at + interval '1 millisecond')
FROM events e
WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
    AND p.stream_id = %(stream)s AND p.version < %(version)s
RETURNING p.*;

-- name: deleted
-- A project is gone, and with it all that is found through it; its executions are swept later, in batches.
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

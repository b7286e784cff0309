-- name: created
-- Adds a team.
INSERT INTO teams (stream_id, version, sequence, project_id, team_id, name, created_at, updated_at)
SELECT %(stream)s, %(version)s, e.notification_id, %(project_id)s, %(team_id)s, %(name)s, e.recorded_at, e.recorded_at
FROM events e WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
ON CONFLICT (stream_id) DO NOTHING
RETURNING *;

-- name: renamed
-- Renames a team.
UPDATE teams t
SET version = %(version)s, name = %(name)s, updated_at = greatest(e.recorded_at, t.updated_at + interval '1 millisecond')
FROM events e
WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
    AND t.stream_id = %(stream)s AND t.version < %(version)s
RETURNING t.*;

-- name: member_added
-- Adds a membership; a confirmed one has joined at once.
WITH owner AS (
    UPDATE teams t SET version = %(version)s
    FROM events e
    WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
        AND t.stream_id = %(stream)s AND t.version < %(version)s
    RETURNING t.project_id, t.team_id, e.notification_id, e.recorded_at
)
INSERT INTO memberships (
    project_id, membership_id, team_id, user_id, sequence, version, roles, confirmed, joined_at, created_at, updated_at
)
SELECT
    project_id, %(membership_id)s, team_id, %(user_id)s, notification_id, %(version)s, %(roles)s::text[],
    %(confirmed)s::boolean, CASE WHEN %(confirmed)s::boolean THEN recorded_at END, recorded_at, recorded_at
FROM owner
RETURNING *;

-- name: member_changed
-- Confirms a membership, or changes its roles.
WITH owner AS (
    UPDATE teams t SET version = %(version)s
    FROM events e
    WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
        AND t.stream_id = %(stream)s AND t.version < %(version)s
    RETURNING t.project_id, t.team_id, e.recorded_at
)
UPDATE memberships m SET
    version = %(version)s,
    roles = coalesce(%(roles)s::text[], m.roles),
    confirmed = m.confirmed OR %(joins)s::boolean,
    joined_at = CASE WHEN %(joins)s::boolean THEN owner.recorded_at ELSE m.joined_at END,
    updated_at = greatest(owner.recorded_at, m.updated_at + interval '1 millisecond')
FROM owner
WHERE m.project_id = owner.project_id AND m.team_id = owner.team_id AND m.membership_id = %(membership_id)s
RETURNING m.*;

-- name: member_removed
-- Deletes a membership.
WITH owner AS (
    UPDATE teams SET version = %(version)s
    WHERE stream_id = %(stream)s AND version < %(version)s
    RETURNING project_id, team_id
)
DELETE FROM memberships m USING owner
WHERE m.project_id = owner.project_id AND m.team_id = owner.team_id AND m.membership_id = %(membership_id)s;

-- name: deleted
-- Deletes a team and all its memberships.
WITH gone AS (
    DELETE FROM teams WHERE stream_id = %(stream)s AND version < %(version)s RETURNING project_id, team_id
)
DELETE FROM memberships m USING gone WHERE m.project_id = gone.project_id AND m.team_id = gone.team_id;

-- name: user_created
-- Adds a user.
INSERT INTO users (
    stream_id, version, sequence, project_id, user_id, name, email, phone, sealed_password, password_set_at, accessed_at,
    created_at, updated_at
)
SELECT
    %(stream)s, %(version)s, e.notification_id, %(project_id)s, %(user_id)s, %(name)s, %(email)s, %(phone)s,
    %(sealed_password)s, CASE WHEN %(sealed_password)s <> '' THEN e.recorded_at END, e.recorded_at, e.recorded_at,
    e.recorded_at
FROM events e WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
ON CONFLICT (stream_id) DO NOTHING
RETURNING *;

-- name: user_changed
-- Changes attributes of a user; null keeps an attribute.
UPDATE users u SET
    version = %(version)s,
    name = coalesce(%(name)s::text, u.name),
    email = coalesce(%(email)s::text, u.email),
    phone = coalesce(%(phone)s::text, u.phone),
    sealed_password = coalesce(%(sealed_password)s::text, u.sealed_password),
    password_set_at = CASE WHEN %(sealed_password)s::text IS NULL THEN u.password_set_at ELSE e.recorded_at END,
    enabled = coalesce(%(enabled)s::boolean, u.enabled),
    email_verified = coalesce(%(email_verified)s::boolean, u.email_verified),
    phone_verified = coalesce(%(phone_verified)s::boolean, u.phone_verified),
    labels = coalesce(%(labels)s::text[], u.labels),
    updated_at = greatest(e.recorded_at, u.updated_at + interval '1 millisecond')
FROM events e
WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
    AND u.stream_id = %(stream)s AND u.version < %(version)s
RETURNING u.*;

-- name: session_opened
-- Adds a session.
WITH owner AS (
    UPDATE users u SET version = %(version)s, accessed_at = e.recorded_at
    FROM events e
    WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
        AND u.stream_id = %(stream)s AND u.version < %(version)s
    RETURNING u.project_id, u.user_id, e.notification_id, e.recorded_at
)
INSERT INTO sessions (project_id, session_id, user_id, sequence, digest, provider, ip, expires_at, created_at)
SELECT
    project_id, %(session_id)s, user_id, notification_id, %(digest)s, %(provider)s, %(ip)s, %(expires_at)s, recorded_at
FROM owner
RETURNING *;

-- name: session_closed
-- Deletes a session.
WITH owner AS (
    UPDATE users SET version = %(version)s
    WHERE stream_id = %(stream)s AND version < %(version)s
    RETURNING project_id, user_id
)
DELETE FROM sessions USING owner
WHERE sessions.project_id = owner.project_id AND sessions.user_id = owner.user_id
    AND sessions.session_id = %(session_id)s;

-- name: user_deleted
-- Deletes a user with all sessions and memberships.
WITH gone AS (
    DELETE FROM users WHERE stream_id = %(stream)s AND version < %(version)s RETURNING project_id, user_id
), its_sessions AS (
    DELETE FROM sessions USING gone WHERE sessions.project_id = gone.project_id AND sessions.user_id = gone.user_id
)
DELETE FROM memberships USING gone
WHERE memberships.project_id = gone.project_id AND memberships.user_id = gone.user_id;

-- name: team_created
-- Adds a team.
INSERT INTO teams (stream_id, version, sequence, project_id, team_id, name, created_at, updated_at)
SELECT %(stream)s, %(version)s, e.notification_id, %(project_id)s, %(team_id)s, %(name)s, e.recorded_at, e.recorded_at
FROM events e WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
ON CONFLICT (stream_id) DO NOTHING
RETURNING *;

-- name: team_renamed
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

-- name: team_deleted
-- Deletes a team and all its memberships.
WITH gone AS (
    DELETE FROM teams WHERE stream_id = %(stream)s AND version < %(version)s RETURNING project_id, team_id
)
DELETE FROM memberships m USING gone WHERE m.project_id = gone.project_id AND m.team_id = gone.team_id;

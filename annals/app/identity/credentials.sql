-- name: access
-- Whether a project exists, its creation's position, its switched-off services, its data key, and the API key with a
-- digest.
SELECT
    wanted.ord, p.project_id IS NOT NULL AS known, p.sequence AS incarnation, p.disabled, d.key_id AS data_key, k.key_id,
    k.scopes, k.expires_at
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (project_id, digest, ord)
LEFT JOIN projects p ON p.project_id = wanted.project_id
LEFT JOIN data_keys d ON d.project = p.project_id
LEFT JOIN keys k ON k.project_id = wanted.project_id AND k.digest = wanted.digest;

-- name: parent_keys
-- Keys of projects by id, on which ephemeral keys depend.
SELECT wanted.ord, k.scopes, k.expires_at
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (project_id, key_id, ord)
JOIN keys k ON k.project_id = wanted.project_id AND k.key_id = wanted.key_id;

-- name: parent_functions
-- Functions by id, on which the keys of their code depend.
SELECT wanted.ord, f.scopes, f.sequence
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (project_id, function_id, ord)
JOIN functions f ON f.project_id = wanted.project_id AND f.function_id = wanted.function_id;

-- name: users
-- Users with the session that a digest or an id names, and their confirmed memberships in teams; for many at once.
SELECT
    wanted.ord, u.user_id, u.sequence, u.email, u.enabled, u.email_verified OR u.phone_verified AS verified, u.labels, s.session_id,
    s.digest, s.expires_at, m.memberships
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[]) WITH ORDINALITY
    AS wanted (project_id, user_id, digest, session_id, ord)
JOIN users u ON u.project_id = wanted.project_id AND u.user_id = wanted.user_id
LEFT JOIN sessions s ON s.project_id = u.project_id AND s.user_id = u.user_id
    AND (s.digest = wanted.digest OR s.session_id = wanted.session_id)
CROSS JOIN LATERAL (
    SELECT coalesce(jsonb_agg(jsonb_build_array(membership_id, team_id, to_jsonb(roles))), '[]') AS memberships
    FROM memberships WHERE project_id = u.project_id AND user_id = u.user_id AND confirmed
) m;

-- name: origins
-- The host names of projects' web platforms.
SELECT wanted.ord, p.hostname
FROM unnest(%s::text[]) WITH ORDINALITY AS wanted (project_id, ord)
JOIN platforms p ON p.project_id = wanted.project_id AND p.hostname <> '';

-- name: users
-- Users by project and id.
SELECT wanted.ord, u.*
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (project_id, user_id, ord)
JOIN users u ON u.project_id = wanted.project_id AND u.user_id = wanted.user_id;

-- name: sessions
-- Sessions of users, oldest first.
SELECT wanted.ord, s.*
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (project_id, user_id, ord)
JOIN sessions s ON s.project_id = wanted.project_id AND s.user_id = wanted.user_id
ORDER BY wanted.ord, s.sequence;

-- name: teams_of_user
-- The teams of which a user is a member.
SELECT DISTINCT team_id FROM memberships WHERE project_id = %(project)s AND user_id = %(user)s;

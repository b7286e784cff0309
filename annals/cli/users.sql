-- name: list
-- Users of a realm with the number of their sessions.
SELECT u.user_id AS id, u.email, u.name, u.created_at,
    (SELECT count(*) FROM sessions s WHERE s.project_id = u.project_id AND s.user_id = u.user_id) AS sessions
FROM users u WHERE u.project_id = %(project)s ORDER BY u.sequence;

-- name: teams
-- The teams that a user has a place in.
SELECT DISTINCT team_id FROM memberships WHERE project_id = %(project)s AND user_id = %(user)s;

-- name: teams
-- Teams by project and id, with the number of their confirmed members.
SELECT wanted.ord, t.*, {total} AS total
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (project_id, team_id, ord)
JOIN teams t ON t.project_id = wanted.project_id AND t.team_id = wanted.team_id;

-- name: total
-- The number of confirmed members of a team.
(SELECT count(*) FROM memberships m WHERE m.project_id = t.project_id AND m.team_id = t.team_id AND m.confirmed);

-- name: memberships
-- Memberships by project, team and id, with the names of their user and team.
SELECT wanted.ord, memberships.*, {names}
FROM unnest(%s::text[], %s::text[], %s::text[]) WITH ORDINALITY AS wanted (project_id, team_id, membership_id, ord)
JOIN memberships ON memberships.project_id = wanted.project_id AND memberships.team_id = wanted.team_id
    AND memberships.membership_id = wanted.membership_id;

-- name: user_by
-- The user with an id, an email or a phone, in this order; values that were not sent are empty.
SELECT user_id FROM users
WHERE project_id = %(project)s
    AND CASE WHEN %(user)s <> '' THEN user_id = %(user)s
        WHEN %(email)s <> '' THEN email = %(email)s
        ELSE phone = %(phone)s AND phone <> '' END;

-- name: by_email
-- The user who signs in with an email.
SELECT user_id, sealed_password, enabled FROM users WHERE project_id = %(project)s AND email = %(email)s AND email <> '';

-- name: find
-- A project's wrapped data key.
SELECT key_id, wrapped FROM data_keys WHERE project = %(project)s;

-- name: some
-- One wrapped data key, if there is any.
SELECT project, key_id, wrapped FROM data_keys ORDER BY project LIMIT 1;

-- name: all
-- Every wrapped data key.
SELECT project, key_id, wrapped FROM data_keys ORDER BY project;

-- name: rewrap
-- A data key under another master key, unless somebody changed it meanwhile.
UPDATE data_keys SET wrapped = %(wrapped)s WHERE project = %(project)s AND wrapped = %(former)s;

-- name: add
-- A new project's data key; the first of several processes wins.
INSERT INTO data_keys (project, key_id, wrapped) VALUES (%(project)s, %(key_id)s, %(wrapped)s)
ON CONFLICT (project) DO NOTHING;

-- name: delete
-- Forget a project's data key for good.
DELETE FROM data_keys WHERE project = %(project)s;

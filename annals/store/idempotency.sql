-- name: reserve
-- Take a key that nobody has, or one whose request broke off: its process is gone, or has let go of it, or is the one that
-- asks, which knows that none of its own requests is at work on it.
INSERT INTO idempotency_keys AS i (project_id, caller, key, fingerprint, resource_id, holder)
VALUES (%(project)s, %(caller)s, %(key)s, %(fingerprint)s, %(resource_id)s, %(holder)s)
ON CONFLICT (project_id, caller, key) DO UPDATE SET holder = excluded.holder
    WHERE i.answered_at IS NULL AND i.fingerprint = excluded.fingerprint
        AND i.created_at >= now() - make_interval(secs => %(seconds)s)
        AND (i.holder = excluded.holder OR NOT EXISTS (SELECT FROM leases l WHERE l.holder = i.holder))
RETURNING resource_id;

-- name: find
-- What is known of a key, and whether its time is over.
SELECT fingerprint, resource_id, answered_at IS NOT NULL AS answered,
    created_at < now() - make_interval(secs => %(seconds)s) AS over
FROM idempotency_keys WHERE project_id = %(project)s AND caller = %(caller)s AND key = %(key)s;

-- name: answered
-- The answer is kept.
UPDATE idempotency_keys SET answered_at = now()
WHERE project_id = %(project)s AND caller = %(caller)s AND key = %(key)s AND resource_id = %(resource_id)s;

-- name: let_go
-- Nobody answers it now; whoever asks again takes it over.
UPDATE idempotency_keys SET holder = ''
WHERE project_id = %(project)s AND caller = %(caller)s AND key = %(key)s AND holder = %(holder)s AND answered_at IS NULL;

-- name: give_back
-- The request was refused and changed nothing: its key is free.
DELETE FROM idempotency_keys
WHERE project_id = %(project)s AND caller = %(caller)s AND key = %(key)s AND holder = %(holder)s AND answered_at IS NULL;

-- name: over
-- Keys whose time is over go, some at a time.
DELETE FROM idempotency_keys WHERE (project_id, caller, key) IN (
    SELECT project_id, caller, key FROM idempotency_keys
    WHERE created_at < now() - make_interval(secs => %(seconds)s) LIMIT %(limit)s
)
RETURNING project_id, resource_id;

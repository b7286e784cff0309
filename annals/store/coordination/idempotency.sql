-- name: reserve
-- Reserve a free key if its pool has room, or take over a released key: its holder is gone or released it, or the holder is
-- the calling process, which knows that none of its own requests uses the key.
WITH spent AS (
    SELECT coalesce(sum(keys), 0) AS keys, coalesce(sum(bytes), 0) AS bytes FROM idempotency_budgets
    WHERE project_id = %(project)s AND pool = %(pool)s
), room AS (
    SELECT FROM spent
    WHERE (%(most_keys)s::bigint = 0 OR spent.keys < %(most_keys)s::bigint)
        AND (%(most_bytes)s::bigint = 0 OR spent.bytes < %(most_bytes)s::bigint)
        AND (%(most_of_caller)s::bigint = 0 OR %(most_of_caller)s::bigint > (
            SELECT count(*) FROM (
                SELECT FROM idempotency_keys WHERE project_id = %(project)s AND caller = %(caller)s
                LIMIT %(most_of_caller)s::bigint
            ) own
        ))
    UNION ALL
    SELECT FROM idempotency_keys WHERE project_id = %(project)s AND caller = %(caller)s AND key = %(key)s
    LIMIT 1
), taken AS (
    INSERT INTO idempotency_keys AS i (project_id, caller, key, fingerprint, resource_id, holder, pool, shard)
    SELECT
        %(project)s, %(caller)s, %(key)s, %(fingerprint)s, %(resource_id)s, %(holder)s, %(pool)s, %(shard)s::smallint
    FROM room
    ON CONFLICT (project_id, caller, key) DO UPDATE SET holder = excluded.holder
        WHERE i.answered_at IS NULL AND i.fingerprint = excluded.fingerprint
            AND i.created_at >= now() - make_interval(secs => %(seconds)s)
            AND (i.holder = excluded.holder OR NOT EXISTS (SELECT FROM leases l WHERE l.holder = i.holder))
    RETURNING resource_id, xmax = 0 AS fresh
), counted AS (
    INSERT INTO idempotency_budgets AS b (project_id, pool, shard, keys)
    SELECT %(project)s, %(pool)s, %(shard)s::smallint, 1 FROM taken WHERE fresh
    ON CONFLICT (project_id, pool, shard) DO UPDATE SET keys = b.keys + 1
)
SELECT resource_id FROM taken;

-- name: find
-- The state of a key; no row for a free key.
SELECT fingerprint, resource_id, CASE
    WHEN created_at < now() - make_interval(secs => %(seconds)s) THEN 'expired'
    WHEN answered_at IS NULL THEN 'reserved'
    WHEN kept THEN 'answered'
    ELSE 'answer_not_stored'
END AS state
FROM idempotency_keys WHERE project_id = %(project)s AND caller = %(caller)s AND key = %(key)s;

-- name: spent
-- The keys and bytes of a pool and the keys of a caller, and the seconds until the oldest key of each is forgotten.
SELECT
    coalesce(sum(b.keys), 0)::bigint AS keys, coalesce(sum(b.bytes), 0)::bigint AS bytes,
    (
        SELECT count(*) FROM (
            SELECT FROM idempotency_keys WHERE project_id = %(project)s AND caller = %(caller)s
            LIMIT greatest(%(most_of_caller)s::bigint, 1)
        ) own
    ) AS of_caller,
    (
        SELECT extract(epoch FROM min(created_at) + make_interval(secs => %(seconds)s) - now())::float8
        FROM idempotency_keys WHERE project_id = %(project)s AND pool = %(pool)s
    ) AS pool_frees,
    (
        SELECT extract(epoch FROM min(created_at) + make_interval(secs => %(seconds)s) - now())::float8
        FROM idempotency_keys WHERE project_id = %(project)s AND caller = %(caller)s
    ) AS caller_frees
FROM idempotency_budgets b WHERE b.project_id = %(project)s AND b.pool = %(pool)s;

-- name: store_answer
-- A reserved key becomes answered; the `bytes` of the stored answer are counted once.
WITH answered AS (
    UPDATE idempotency_keys SET answered_at = now(), bytes = %(bytes)s::bigint, kept = %(kept)s
    WHERE project_id = %(project)s AND caller = %(caller)s AND key = %(key)s AND resource_id = %(resource_id)s
        AND answered_at IS NULL
    RETURNING project_id, pool, shard
)
UPDATE idempotency_budgets b SET bytes = b.bytes + %(bytes)s::bigint FROM answered a
WHERE b.project_id = a.project_id AND b.pool = a.pool AND b.shard = a.shard;

-- name: release
-- A reserved key becomes released: the next equal request takes it over.
UPDATE idempotency_keys SET holder = ''
WHERE project_id = %(project)s AND caller = %(caller)s AND key = %(key)s AND holder = %(holder)s AND answered_at IS NULL;

-- name: free
-- A reserved key becomes free and counts no more: its request was refused and changed nothing.
WITH gone AS (
    DELETE FROM idempotency_keys
    WHERE project_id = %(project)s AND caller = %(caller)s AND key = %(key)s AND holder = %(holder)s
        AND answered_at IS NULL
    RETURNING project_id, pool, shard
)
UPDATE idempotency_budgets b SET keys = b.keys - 1 FROM gone g
WHERE b.project_id = g.project_id AND b.pool = g.pool AND b.shard = g.shard;

-- name: expired
-- Keys whose day is over, the oldest first.
SELECT project_id, caller, key, resource_id FROM idempotency_keys
WHERE created_at < now() - make_interval(secs => %(seconds)s) ORDER BY created_at LIMIT %(limit)s;

-- name: forget
-- Remove expired keys, and what they count. Counts are locked in one order, so that two sweeps never wait for each other.
WITH locked AS (
    SELECT i.project_id, i.caller, i.key FROM idempotency_keys i
    JOIN unnest(%(projects)s::text[], %(callers)s::text[], %(keys)s::text[]) AS old (project_id, caller, key)
        ON i.project_id = old.project_id AND i.caller = old.caller AND i.key = old.key
    WHERE i.created_at < now() - make_interval(secs => %(seconds)s)
    ORDER BY i.project_id, i.caller, i.key FOR UPDATE OF i
), gone AS (
    DELETE FROM idempotency_keys i USING locked l
    WHERE i.project_id = l.project_id AND i.caller = l.caller AND i.key = l.key
    RETURNING i.project_id, i.pool, i.shard, i.bytes
), freed AS (
    SELECT project_id, pool, shard, count(*) AS keys, sum(bytes) AS bytes FROM gone GROUP BY project_id, pool, shard
), budgets AS (
    SELECT b.project_id, b.pool, b.shard, f.keys, f.bytes FROM idempotency_budgets b
    JOIN freed f ON b.project_id = f.project_id AND b.pool = f.pool AND b.shard = f.shard
    ORDER BY b.project_id, b.pool, b.shard FOR UPDATE OF b
), emptied AS (
    UPDATE idempotency_budgets b SET keys = b.keys - f.keys, bytes = b.bytes - f.bytes FROM budgets f
    WHERE b.project_id = f.project_id AND b.pool = f.pool AND b.shard = f.shard
)
SELECT count(*) AS count FROM gone;

-- name: take
-- A turn of a subject, who may take `burst` at once and then one in so many seconds; no row when it has to wait.
WITH over AS (
    SELECT ctid FROM sign_in_tries
    WHERE free_at < now() AND (project_id, subject) <> (%(project)s, %(subject)s) LIMIT 16 FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM sign_in_tries WHERE ctid IN (SELECT ctid FROM over)
)
INSERT INTO sign_in_tries AS t (project_id, subject, tried, free_at)
VALUES (%(project)s, %(subject)s, 1, clock_timestamp() + %(pause)s * interval '1 second')
ON CONFLICT (project_id, subject) DO UPDATE SET
    tried = t.tried + 1,
    free_at = greatest(t.free_at, clock_timestamp()) + %(pause)s * interval '1 second'
WHERE t.free_at <= clock_timestamp() + (%(burst)s - 1) * %(pause)s * interval '1 second'
RETURNING tried;

-- name: wait
-- Seconds until a subject may take its next turn.
SELECT ceil(extract(epoch FROM free_at - clock_timestamp()) - (%(burst)s - 1) * %(pause)s)::int AS seconds
FROM sign_in_tries WHERE project_id = %(project)s AND subject = %(subject)s;

-- name: give_back
-- Turns of those who turned out to be right.
UPDATE sign_in_tries SET free_at = free_at - %(pause)s * interval '1 second'
WHERE project_id = %(project)s AND subject = %(subject)s;

-- name: know
-- An account signs in from this address: it keeps that standing for a while.
INSERT INTO sign_in_tries AS t (project_id, subject, tried, free_at)
VALUES (%(project)s, %(subject)s, 0, clock_timestamp() + %(days)s * interval '1 day')
ON CONFLICT (project_id, subject) DO UPDATE SET free_at = excluded.free_at;

-- name: is_known
-- Whether an account has signed in from this address lately.
SELECT EXISTS (
    SELECT FROM sign_in_tries WHERE project_id = %(project)s AND subject = %(subject)s AND free_at > clock_timestamp()
);

-- name: commits_wait
-- From now on a transaction that moves a follower's checkpoint waits at its commit for that follower's lock.
CREATE FUNCTION commit_waits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(4711, hashtext(NEW.name));
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER commit_waits AFTER UPDATE ON checkpoints DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION commit_waits();
SELECT pg_advisory_lock(4711, hashtext(name)) FROM checkpoints;

-- name: commits_go_on
-- Release the locks before the function is dropped: the waiting transactions hold locks that the drop needs.
SELECT pg_advisory_unlock_all();
DROP FUNCTION commit_waits CASCADE;

-- name: waiting_commits
-- The followers that wait at their commit, and the pids of their backends.
SELECT c.name, l.pid FROM checkpoints c JOIN pg_locks l
    ON l.locktype = 'advisory' AND l.classid = 4711 AND l.objid::bigint = hashtext(c.name)::bigint & 4294967295
WHERE NOT l.granted;

-- name: waiting_writes
-- The tables that writers wait for, and the pids of their backends.
SELECT relation::regclass::text, pid FROM pg_locks WHERE locktype = 'relation' AND NOT granted;

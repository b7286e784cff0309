-- name: commits_wait
-- From now on whoever moves a follower's checkpoint waits at its commit, with all else done, for that follower's lock.
CREATE FUNCTION commit_waits() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(4711, hashtext(NEW.name));
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER commit_waits AFTER UPDATE ON checkpoints DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION commit_waits();
SELECT pg_advisory_lock(4711, hashtext(name)) FROM checkpoints;

-- name: commits_go_on
-- As if nothing had been; the locks first, for who waits holds others.
SELECT pg_advisory_unlock_all();
DROP FUNCTION commit_waits CASCADE;

-- name: waiting_commits
-- The followers that wait at their commit, and their connections.
SELECT c.name, l.pid FROM checkpoints c JOIN pg_locks l
    ON l.locktype = 'advisory' AND l.classid = 4711 AND l.objid::bigint = hashtext(c.name)::bigint & 4294967295
WHERE NOT l.granted;

-- name: waiting_writes
-- The tables that somebody waits to write to, and the connections.
SELECT relation::regclass::text, pid FROM pg_locks WHERE locktype = 'relation' AND NOT granted;

-- name: waiting
-- Sessions of this database whose commit waits for a synchronous standby, and since when at the most.
SELECT pid, query_start FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'SyncRep' AND state = 'active' AND pid <> pg_backend_pid();

-- name: end_waits
-- Commits that need not wait any longer.
SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid = ANY(%(pids)s::int[]) AND wait_event = 'SyncRep';

-- name: server
-- Which run of which server this is: after a crash it may go on in the same postmaster, but with its statistics empty.
SELECT pg_postmaster_start_time() AS started_at, stats_reset AS recovered_at FROM pg_stat_checkpointer;

-- name: barrier
-- Once this is committed, all that was visible before it is on the synchronous standby. With no such standby there is
-- nothing to wait for: what is visible was flushed before, and a flush is all that a commit promises there.
SELECT CASE WHEN current_setting('synchronous_standby_names') <> '' THEN
    pg_logical_emit_message(true, 'annals', '')
END;

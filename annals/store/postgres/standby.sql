-- name: waiting
-- Sessions of this database whose commit waits for a synchronous standby, and when their statement began.
SELECT pid, query_start FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'SyncRep' AND state = 'active' AND pid <> pg_backend_pid();

-- name: end_waits
-- Cancel the wait of some commits.
SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid = ANY(%(pids)s::int[]) AND wait_event = 'SyncRep';

-- name: server
-- The identity of a server's run: after a crash the postmaster may stay the same, but its statistics are reset.
SELECT pg_postmaster_start_time() AS started_at, stats_reset AS recovered_at FROM pg_stat_checkpointer;

-- name: barrier
-- Commit after everything that is visible is on the synchronous standby. Without such a standby there is nothing to
-- wait for: visible rows were flushed before, and a commit promises no more.
SELECT CASE WHEN current_setting('synchronous_standby_names') <> '' THEN
    pg_logical_emit_message(true, 'annals', '')
END;

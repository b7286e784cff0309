-- name: followers
-- The number of events that each follower is behind, and whether it has stopped.
SELECT name, greatest(0, (SELECT coalesce(max(notification_id), 0) FROM events) - position) AS lag, error <> '' AS stopped
FROM checkpoints ORDER BY name;

-- name: roles
-- Processes by role.
SELECT role, count(*) AS processes FROM leases GROUP BY role ORDER BY role;

-- name: writable
-- Whether this server accepts writes.
SELECT NOT (pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean) AS writable;

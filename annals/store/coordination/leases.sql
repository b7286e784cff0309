-- name: beat
-- Count a heartbeat. It does not wait for a standby: while the standby is away, all processes would seem lost.
INSERT INTO leases (holder, role, host, pid, beats, doing, build_slots, build_reserve)
VALUES (%(holder)s, %(role)s, %(host)s, %(pid)s, 1, %(doing)s, %(build_slots)s, %(build_reserve)s)
ON CONFLICT (holder) DO UPDATE SET beats = leases.beats + 1, doing = excluded.doing
RETURNING beats, set_config('synchronous_commit', 'local', true);

-- name: leave
-- Remove the row of a process that stops in order.
DELETE FROM leases WHERE holder = %(holder)s;

-- name: holders
-- All processes with a row.
SELECT holder, role, host, pid, beats, doing, started_at FROM leases ORDER BY role, started_at;

-- name: forget
-- Remove lost processes, after their claims were taken back.
DELETE FROM leases l USING unnest(%(holders)s::text[], %(beats)s::bigint[]) AS seen (holder, beats)
WHERE l.holder = seen.holder AND l.beats = seen.beats;

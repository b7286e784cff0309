-- name: beat
-- Count a heartbeat. It waits for no standby: while that is away, all would seem to be lost to each other.
INSERT INTO leases (holder, role, host, pid, beats, doing, build_slots, build_reserve)
VALUES (%(holder)s, %(role)s, %(host)s, %(pid)s, 1, %(doing)s, %(build_slots)s, %(build_reserve)s)
ON CONFLICT (holder) DO UPDATE SET beats = leases.beats + 1, doing = excluded.doing
RETURNING beats, set_config('synchronous_commit', 'local', true);

-- name: leave
-- A process ends in order.
DELETE FROM leases WHERE holder = %(holder)s;

-- name: holders
-- Every process that said it lives.
SELECT holder, role, host, pid, beats, doing, started_at FROM leases ORDER BY role, started_at;

-- name: forget
-- Lost processes, once what they held was taken back.
DELETE FROM leases l USING unnest(%(holders)s::text[], %(beats)s::bigint[]) AS seen (holder, beats)
WHERE l.holder = seen.holder AND l.beats = seen.beats;

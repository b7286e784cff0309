-- name: snapshots
-- The page of snapshots after one, by stream and version.
SELECT originator_id AS stream, originator_version AS version, shape, state FROM snapshots
WHERE (originator_id, originator_version) > (%(stream)s, %(version)s)
ORDER BY originator_id, originator_version LIMIT %(limit)s;

-- name: events
-- The next events of a stream up to a version.
SELECT notification_id AS position, originator_version AS version, topic, state FROM events
WHERE originator_id = %(stream)s AND originator_version > %(after)s AND originator_version <= %(until)s
ORDER BY originator_version LIMIT %(limit)s;

-- name: drop
-- Delete a wrong snapshot: the next load folds its stream's events instead.
DELETE FROM snapshots WHERE originator_id = %(stream)s AND originator_version = %(version)s;

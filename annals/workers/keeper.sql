-- name: dismiss
-- Ends the session that holds the lead, and with it the lead.
SELECT pg_terminate_backend(pid) FROM pg_locks
WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::bigint << 32 | objid::bigint) = %(lock)s;

-- name: unread
-- The events that the version which leads cannot read, by what its followers noted of why they stand still.
SELECT DISTINCT substring(error FROM 'before position ([0-9]+): (?:UnknownTopic|UnreadableEvent): ')::bigint AS position
FROM checkpoints
WHERE position < substring(error FROM 'before position ([0-9]+): (?:UnknownTopic|UnreadableEvent): ')::bigint;

-- name: forget_unread
-- A new term finds out by itself what it can read: what is noted from then on is of its own version.
UPDATE checkpoints SET error = '' WHERE error ~ 'before position [0-9]+: (UnknownTopic|UnreadableEvent): ';

-- name: created
-- Adds a rule, unless its function was deleted at the same moment.
INSERT INTO rules (
    stream_id, version, sequence, project_id, rule_id, domain, function_id, function_sequence, branch, created_at,
    updated_at
)
SELECT
    %(stream)s, %(version)s, e.notification_id, f.project_id, %(rule_id)s, %(domain)s, f.function_id, f.sequence,
    %(branch)s, e.recorded_at, e.recorded_at
FROM events e
JOIN functions f ON f.stream_id = %(function)s AND f.sequence = %(function_sequence)s
WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
ON CONFLICT (stream_id) DO NOTHING
RETURNING *;

-- name: deleted
-- Deletes a rule.
DELETE FROM rules WHERE stream_id = %(stream)s AND version < %(version)s;

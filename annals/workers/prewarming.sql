-- name: wanted
-- Functions that are to have instances ready, and how many: by their policy, or since their schedule is due in a moment.
SELECT f.stream_id, f.project_id, f.function_id, greatest(w.kept, w.due) AS instances
FROM functions f
LEFT JOIN schedules s ON s.stream_id = f.stream_id AND s.function_sequence = f.sequence
CROSS JOIN LATERAL (
    SELECT
        coalesce((f.policy #>> '{scaling,min_warm}')::integer, 0) AS kept,
        coalesce(s.schedule_next BETWEEN now() AND now() + make_interval(secs => %(ahead)s), false)::integer AS due
) w
WHERE f.stream_id = %(stream)s AND f.deployment_id <> '' AND greatest(w.kept, w.due) > 0;

-- name: all_wanted
-- The same of all functions, those alone.
SELECT stream_id FROM functions
WHERE policy <> '{}' AND (policy #>> '{scaling,min_warm}')::integer > 0 AND deployment_id <> ''
UNION
SELECT stream_id FROM schedules
WHERE schedule_next BETWEEN now() AND now() + make_interval(secs => %(ahead)s) AND deployment_id <> '';

-- name: due_functions
-- Functions whose schedule is due, with what an execution of them must name.
SELECT s.project_id, s.function_id, s.function_sequence, s.schedule, f.version, f.deployment_id, f.policy,
    now() AS now
FROM schedules s
JOIN functions f ON f.stream_id = s.stream_id AND f.sequence = s.function_sequence
WHERE s.schedule_next <= now() AND f.deployment_id <> '' AND f.schedule = s.schedule
ORDER BY s.schedule_next LIMIT %(limit)s;

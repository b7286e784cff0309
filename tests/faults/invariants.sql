-- name: open
-- Executions and builds that are due and have not ended.
SELECT stream_id, status FROM executions
WHERE status IN ('waiting', 'processing') OR (status = 'scheduled' AND scheduled_at <= now())
UNION ALL
SELECT stream_id, status FROM deployments WHERE status IN ('processing', 'building') OR (status = 'waiting' AND source_key <> '')
UNION ALL
SELECT stream_id, 'abandoned' FROM abandoned_builds
UNION ALL
SELECT stream_id, status FROM executions x WHERE status = 'scheduled'
    AND NOT EXISTS (SELECT FROM functions f WHERE f.project_id = x.project_id AND f.function_id = x.function_id);

-- name: gaps
-- Streams whose versions are not 1, 2, 3 and so on.
SELECT originator_id, count(*) AS events, min(originator_version) AS first, max(originator_version) AS last
FROM events GROUP BY originator_id
HAVING min(originator_version) <> 1 OR max(originator_version) <> count(*);

-- name: execution_ends
-- Accepted executions that did not end exactly once; scheduled executions that are not due are left out.
WITH lives AS (
    SELECT e.originator_id, e.topic,
        count(*) FILTER (WHERE e.topic = 'execution.requested')
            OVER (PARTITION BY e.originator_id ORDER BY e.originator_version) AS life
    FROM events e WHERE e.originator_id LIKE 'execution:%'
)
SELECT originator_id, life, array_agg(topic) AS topics FROM lives GROUP BY originator_id, life
HAVING count(*) FILTER (
    WHERE topic IN ('execution.completed', 'execution.failed', 'execution.dead_lettered', 'execution.canceled')
) <> 1
    AND NOT bool_or(topic = 'execution.deleted')
    AND NOT EXISTS (SELECT FROM executions x WHERE x.stream_id = originator_id AND x.status = 'scheduled');

-- name: build_ends
-- Deployments whose build was queued but did not end exactly once.
WITH lives AS (
    SELECT e.originator_id, e.originator_version, e.topic,
        count(*) FILTER (WHERE e.topic = 'deployment.upload_started')
            OVER (PARTITION BY e.originator_id ORDER BY e.originator_version) AS life
    FROM events e WHERE e.originator_id LIKE 'deployment:%'
)
SELECT originator_id, life, array_agg(topic ORDER BY originator_version) AS topics FROM lives GROUP BY originator_id, life
HAVING bool_or(topic = 'deployment.build_queued')
    AND count(*) FILTER (
        WHERE topic IN ('deployment.build_succeeded', 'deployment.build_failed', 'deployment.build_canceled')
    ) <> 1
    AND NOT bool_or(topic = 'deployment.deleted');

-- name: stopped
-- Followers that an event has stopped.
SELECT name, error FROM checkpoints WHERE error <> '';

-- name: usage
-- Projects whose usage counts other executions than those that ended.
WITH ended AS (
    SELECT project, count(*) AS executions FROM events
    WHERE topic IN ('execution.completed', 'execution.failed', 'execution.dead_lettered', 'execution.canceled')
    GROUP BY project
), counted AS (
    SELECT project_id AS project, sum(executions) AS executions FROM usage_days
    WHERE cube = 'total' GROUP BY project_id
)
SELECT coalesce(e.project, c.project) AS project, e.executions AS ended, c.executions AS counted
FROM ended e FULL JOIN counted c ON e.project = c.project
WHERE coalesce(e.executions, 0) <> coalesce(c.executions, 0);

-- name: counts
-- The number of execution events by topic.
SELECT topic, count(*) AS number FROM events WHERE topic LIKE 'execution.%' GROUP BY topic;

-- name: history
-- Every event of functions, deployments and executions in the order of the log, with the transaction that wrote it.
SELECT notification_id, originator_id, originator_version, topic, state, recorded_at, project, xmin::text AS commit
FROM events WHERE split_part(topic, '.', 1) IN ('function', 'deployment', 'execution') ORDER BY notification_id;

-- name: rows_of_functions
-- The number of rows of each function, by table.
SELECT 'functions' AS "table", function_id, count(*) AS rows FROM functions GROUP BY function_id
UNION ALL SELECT 'deployments', function_id, count(*) FROM deployments GROUP BY function_id
UNION ALL SELECT 'executions', function_id, count(*) FROM executions GROUP BY function_id
UNION ALL SELECT 'variables', function_id, count(*) FROM variables WHERE function_id <> '' GROUP BY function_id
UNION ALL SELECT 'rules', function_id, count(*) FROM rules GROUP BY function_id
UNION ALL SELECT 'schedules', function_id, count(*) FROM schedules GROUP BY function_id
UNION ALL SELECT 'counters', scope, count(*) FROM counters WHERE scope <> '' GROUP BY scope;

-- name: requested
-- Adds an accepted call. A call after its function's deletion is not counted, and is swept.
WITH made AS (
    INSERT INTO executions (
        stream_id, version, sequence, project_id, execution_id, function_id, function_sequence, deployment_id,
        function_version, trigger, status, user_id, request_method, request_path, request_headers, input_size, worker,
        epoch, scheduled_at, started_at, created_at, updated_at
    )
    SELECT
        %(stream)s, %(version)s, e.notification_id, %(project_id)s, %(execution_id)s, %(function_id)s,
        %(function_sequence)s, %(deployment_id)s, %(function_version)s, %(trigger)s, %(status)s, %(user_id)s,
        %(request_method)s, %(request_path)s, %(request_headers)s, %(input_size)s, %(worker)s, %(epoch)s, %(scheduled_at)s,
        CASE WHEN %(status)s = 'processing' THEN e.recorded_at END, e.recorded_at, e.recorded_at
    FROM events e WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
    ON CONFLICT (stream_id) DO NOTHING
    RETURNING *
), counted AS (
    INSERT INTO counters AS c (project_id, scope, name, value)
    SELECT f.project_id, f.function_id, 'executions', 1 FROM made
    JOIN functions f ON f.stream_id = %(function)s AND f.sequence = made.function_sequence
    ON CONFLICT (project_id, scope, name) DO UPDATE SET value = c.value + 1
)
SELECT * FROM made;

-- name: claimed
-- Sets the worker of a started attempt.
UPDATE executions x SET
    version = %(version)s, status = %(status)s, worker = %(worker)s, epoch = %(epoch)s, started_at = e.recorded_at,
    message = %(message)s, retry_at = %(retry_at)s::timestamptz, response_status_code = %(response_status_code)s,
    logs_version = %(logs_version)s, logs_size = %(logs_size)s, errors_size = %(errors_size)s,
    updated_at = greatest(e.recorded_at, x.updated_at + interval '1 millisecond')
FROM events e
WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
    AND x.stream_id = %(stream)s AND x.version < %(version)s;

-- name: retry_scheduled
-- Sets a failed attempt and the time of the next one.
UPDATE executions x SET
    version = %(version)s, status = %(status)s, message = %(message)s, retry_at = %(retry_at)s::timestamptz,
    response_status_code = %(response_status_code)s, logs_version = %(logs_version)s, logs_size = %(logs_size)s,
    errors_size = %(errors_size)s, updated_at = greatest(e.recorded_at, x.updated_at + interval '1 millisecond')
FROM events e
WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
    AND x.stream_id = %(stream)s AND x.version < %(version)s;

-- name: dead_letter_removed
-- Removes a redriven or discarded execution from the dead letters.
UPDATE executions x SET
    version = %(version)s, dead_reason = %(dead_reason)s,
    updated_at = greatest(e.recorded_at, x.updated_at + interval '1 millisecond')
FROM events e
WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
    AND x.stream_id = %(stream)s AND x.version < %(version)s;

-- name: ended
-- Sets the end of a call that ran.
UPDATE executions x SET
    version = %(version)s, status = %(status)s, reason = %(reason)s, message = %(message)s,
    retry_at = %(retry_at)s::timestamptz, dead_reason = %(dead_reason)s,
    response_status_code = %(response_status_code)s, response_headers = %(response_headers)s,
    deployment_id = %(deployment_id)s,
    function_version = %(function_version)s, environment_digest = %(environment_digest)s,
    specification = %(specification)s, cold = %(cold)s, queue_ms = %(queue_ms)s, start_ms = %(start_ms)s,
    duration_ms = %(duration_ms)s, logs_version = %(logs_version)s, logs_size = %(logs_size)s, errors_size = %(errors_size)s,
    updated_at = greatest(e.recorded_at, x.updated_at + interval '1 millisecond')
FROM events e
WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
    AND x.stream_id = %(stream)s AND x.version < %(version)s
RETURNING x.*;

-- name: ended_unrun
-- Sets the end of a call that did not run: no deployment, a lost worker, a cancellation.
UPDATE executions x SET
    version = %(version)s, status = %(status)s, reason = %(reason)s, message = %(message)s,
    retry_at = %(retry_at)s::timestamptz, dead_reason = %(dead_reason)s,
    response_status_code = %(response_status_code)s, logs_version = %(logs_version)s, logs_size = %(logs_size)s,
    errors_size = %(errors_size)s, updated_at = greatest(e.recorded_at, x.updated_at + interval '1 millisecond')
FROM events e
WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
    AND x.stream_id = %(stream)s AND x.version < %(version)s
RETURNING x.*;

-- name: output_kept
-- Sets the output of a canceled run.
UPDATE executions x SET
    version = %(version)s, logs_version = %(logs_version)s, logs_size = %(logs_size)s, errors_size = %(errors_size)s,
    updated_at = greatest(e.recorded_at, x.updated_at + interval '1 millisecond')
FROM events e
WHERE e.originator_id = %(stream)s AND e.originator_version = %(version)s
    AND x.stream_id = %(stream)s AND x.version < %(version)s;

-- name: deleted
-- Deletes an execution.
WITH gone AS (
    DELETE FROM executions WHERE stream_id = %(stream)s AND version < %(version)s
    RETURNING project_id, function_id, function_sequence
)
UPDATE counters c SET value = c.value - 1 FROM gone JOIN functions f USING (project_id, function_id)
WHERE f.sequence = gone.function_sequence
    AND c.project_id = gone.project_id AND c.scope = gone.function_id AND c.name = 'executions';

-- name: swept
-- Deletes a function's oldest executions: all of them if the function is gone, else the ended ones.
WITH gone AS (
    DELETE FROM executions
    WHERE project_id = %(project_id)s AND function_id = %(function_id)s AND function_sequence = %(function_sequence)s
        AND sequence <= %(up_to)s AND (%(all)s OR status IN ('completed', 'failed'))
    RETURNING stream_id
)
UPDATE counters c SET value = c.value - (SELECT count(*) FROM gone) FROM functions f
WHERE f.project_id = %(project_id)s AND f.function_id = %(function_id)s AND f.sequence = %(function_sequence)s
    AND c.project_id = f.project_id AND c.scope = f.function_id AND c.name = 'executions';

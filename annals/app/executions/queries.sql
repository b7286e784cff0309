-- name: output
-- An execution's output for columns of a select on executions, with its digest and the blob that holds it, if one does.
(
    SELECT c.data FROM contents c
    WHERE c.stream = executions.stream_id AND c.version = executions.logs_version AND c.kind = 'logs'
) AS logs_data,
(
    SELECT c.digest || ' ' || coalesce(c.blob, '') FROM contents c
    WHERE c.stream = executions.stream_id AND c.version = executions.logs_version AND c.kind = 'logs'
) AS logs_place,
(
    SELECT c.data FROM contents c
    WHERE c.stream = executions.stream_id AND c.version = executions.logs_version AND c.kind = 'errors'
) AS errors_data,
(
    SELECT c.digest || ' ' || coalesce(c.blob, '') FROM contents c
    WHERE c.stream = executions.stream_id AND c.version = executions.logs_version AND c.kind = 'errors'
) AS errors_place

-- name: whole
-- Where all of a log lies of which an execution's record holds the end.
SELECT blob, digest, size FROM contents WHERE stream = %(stream)s AND version = %(version)s AND kind = %(kind)s AND blob IS NOT NULL;

-- name: stale
-- Whether a run outlived its timeout and nobody holds it any more, the reaper's judgement being due.
(
    executions.status = 'processing'
    AND executions.started_at < now() - make_interval(secs => (
        SELECT f.timeout FROM functions f
        WHERE f.project_id = executions.project_id AND f.function_id = executions.function_id
    ))
    AND NOT EXISTS (SELECT FROM leases l WHERE l.holder = executions.worker)
)

-- name: executions
-- Executions by project and id, whether each is stale, and its output.
SELECT wanted.ord, executions.*, {stale} AS stale, {output}
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (project_id, execution_id, ord)
JOIN executions ON executions.project_id = wanted.project_id AND executions.execution_id = wanted.execution_id;

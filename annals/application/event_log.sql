-- name: function
-- A function is there, in this incarnation: else the append is refused.
SELECT require_function(%(stream)s, %(incarnation)s);

-- name: place_back_of
-- Notify calls that wait for a concurrency slot of a function: an execution that may hold one gives it back.
SELECT pg_notify('annals_places', x.project_id || ':' || x.function_id) FROM executions x
WHERE x.stream_id = %(stream)s AND x.status = 'processing';

-- name: deployment
-- A deployment is there: else it went with its function, and the append is refused.
SELECT require_deployment(%(stream)s);

-- name: known_deployment
-- A deployment is there: else it belonged to a former function of the same id, and the append is refused.
SELECT require_known_deployment(%(stream)s);

-- name: contents_of_stream
-- What a deleted resource had kept outside its events; a later incarnation's contents stay.
DELETE FROM contents WHERE stream = %(stream)s AND version <= %(version)s;

-- name: build_log
-- The pieces of a build's output: its whole log is among the contents now, or its deployment is gone.
DELETE FROM build_logs WHERE stream_id = %(stream)s;

-- name: canceled_build_log
-- A canceled build's output ends with this sentence, whatever its killed process still wrote.
INSERT INTO build_logs (stream_id, epoch, seq, chunk)
SELECT stream_id, epoch, 2147483647, %(sentence)s FROM deployments WHERE stream_id = %(stream)s
ON CONFLICT (stream_id, epoch, seq) DO NOTHING;

-- name: contents_of_swept
-- What executions that retention removes had kept outside their events; runs before they go.
DELETE FROM contents c USING executions x
WHERE x.project_id = %(project_id)s AND x.function_id = %(function_id)s
    AND x.function_sequence = %(function_sequence)s AND x.sequence <= %(up_to)s
    AND (%(all)s OR x.status IN ('completed', 'failed'))
    AND c.stream = x.stream_id AND c.version <= x.version;

-- name: abandoned_builds
-- Notes the builds of a deleted function that have not ended, for somebody to end them; runs before their rows go.
INSERT INTO abandoned_builds (stream_id, function_sequence, project_id, function_id, build_started_at)
SELECT d.stream_id, d.function_sequence, d.project_id, d.function_id, d.build_started_at
FROM functions f JOIN deployments d USING (project_id, function_id)
WHERE f.stream_id = %(stream)s
    AND (d.status IN ('processing', 'building') OR (d.status = 'waiting' AND d.queued_at IS NOT NULL))
ON CONFLICT DO NOTHING;

-- name: contents_of_function
-- The build logs of a deleted function's deployments; runs before their rows go.
WITH its AS (
    SELECT d.stream_id, d.version FROM functions f JOIN deployments d USING (project_id, function_id)
    WHERE f.stream_id = %(stream)s
), pieces AS (
    DELETE FROM build_logs USING its WHERE build_logs.stream_id = its.stream_id
)
DELETE FROM contents c USING its WHERE c.stream = its.stream_id AND c.version <= its.version;

-- name: contents_of_project
-- The build logs of a deleted project's deployments; runs before their rows go.
WITH its AS (
    SELECT d.stream_id, d.version FROM projects p JOIN deployments d USING (project_id) WHERE p.stream_id = %(stream)s
), pieces AS (
    DELETE FROM build_logs USING its WHERE build_logs.stream_id = its.stream_id
)
DELETE FROM contents c USING its WHERE c.stream = its.stream_id AND c.version <= its.version;

-- name: hold_project
-- No data key is made for a project from here on: the next statement sees each that was.
SELECT 1 FROM projects WHERE stream_id = %(stream)s FOR UPDATE;

-- name: data_key_of_project
-- The key of everything a deleted project sealed: from now on nobody can read it, and every process is told to forget it; runs
-- before the project's row goes.
WITH gone AS (
    DELETE FROM data_keys k USING projects p WHERE p.stream_id = %(stream)s AND k.project = p.project_id
    RETURNING k.project
)
SELECT pg_notify('annals_data_keys', project) FROM gone;

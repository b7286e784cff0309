-- name: function
-- A function is there, in this incarnation: else the append is refused.
SELECT require_function(%(stream)s, %(incarnation)s);

-- name: place_back_of
-- Who waits for a place of a function is told that the one which an execution may hold is given back.
SELECT pg_notify('annals_places', x.project_id || ':' || x.function_id) FROM executions x
WHERE x.stream_id = %(stream)s AND x.status = 'processing';

-- name: deployment
-- A deployment is there: else it went with its function, and the append is refused.
SELECT require_deployment(%(stream)s);

-- name: known_deployment
-- A deployment is there: else it belonged to a former function of the same id, and the append is refused.
SELECT require_known_deployment(%(stream)s);

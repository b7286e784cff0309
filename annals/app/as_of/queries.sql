-- name: moment
-- The time of the last event up to a position, the log's end, and the position up to which row versions are recorded.
SELECT
    greatest(
        (SELECT recorded_at FROM events WHERE notification_id <= %(position)s ORDER BY notification_id DESC LIMIT 1),
        (SELECT recorded_at FROM audit WHERE position <= %(position)s ORDER BY position DESC LIMIT 1)
    ) AS moment,
    (SELECT coalesce(max(notification_id), 0) FROM events) AS newest,
    coalesce((SELECT position FROM checkpoints WHERE name = 'row_versions'), 0) AS kept;

-- name: position
-- The same for a time.
SELECT
    position_at(%(moment)s) AS position, (SELECT coalesce(max(notification_id), 0) FROM events) AS newest,
    coalesce((SELECT position FROM checkpoints WHERE name = 'row_versions'), 0) AS kept;

-- name: rows
-- A live table as it was at a position, to select from. Indexes find and order its rows by the columns past_….
(
    SELECT
        image.*, begun.project_id AS past_project, begun.function_id AS past_function, begun.id AS past_id,
        begun.sequence AS past_sequence
    FROM row_versions begun
    CROSS JOIN LATERAL (
        SELECT v.image, v.to_position, v.sequence FROM row_versions v
        WHERE v.kind = '{kind}' AND v.project_id = begun.project_id AND v.id = begun.id AND v.from_position <= {at}
        ORDER BY v.from_position DESC LIMIT 1
    ) AS last
    CROSS JOIN LATERAL jsonb_populate_record(NULL::{kind}, last.image) AS image
    WHERE begun.kind = '{kind}' AND begun.from_position = begun.sequence AND begun.sequence <= {at}
        AND last.to_position > {at} AND last.sequence = begun.sequence
) AS {kind}

-- name: functions_total
-- The number of functions of a project at a position.
SELECT least(
    (
        SELECT count(*) FROM row_versions
        WHERE kind = 'functions' AND project_id = %s AND from_position = sequence AND sequence <= %s
    ) - (
        SELECT count(*) FROM row_versions WHERE kind = 'functions' AND project_id = %s AND gone AND to_position <= %s
    ),
    %s
) AS value;

-- name: executions
-- Executions as they were at a position, to select from, with the same columns past_….
(
    SELECT
        *, project_id AS past_project, function_id AS past_function, execution_id AS past_id,
        sequence AS past_sequence
    FROM execution_versions
    WHERE from_position <= {at} AND to_position > {at}
) AS executions

-- name: one
-- One row of a live table as it was at a position, by its id, to select from.
(
    SELECT image.*
    FROM (
        SELECT v.image, v.to_position FROM row_versions v
        WHERE v.kind = '{kind}' AND v.project_id = %s AND v.id = %s AND v.from_position <= {at}
        ORDER BY v.from_position DESC LIMIT 1
    ) AS last
    CROSS JOIN LATERAL jsonb_populate_record(NULL::{kind}, last.image) AS image
    WHERE last.to_position > {at}
) AS {kind}

-- name: vars
-- A function's variables as they were, as JSON, for a column of a select on functions.
(
    SELECT coalesce(json_agg(v), '[]'::json)
    FROM (
        SELECT variables.* FROM {variables}
        WHERE past_project = functions.project_id AND past_function = functions.function_id
        ORDER BY variables.sequence LIMIT 1000
    ) AS v
) AS vars

-- name: functions
-- A function's position of creation, whether it is enabled, and a token that changes whenever its row changes.
SELECT wanted.ord, f.stream_id, f.sequence, f.enabled, f.xmin::text AS token
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (project_id, function_id, ord)
JOIN functions f ON f.project_id = wanted.project_id AND f.function_id = wanted.function_id;

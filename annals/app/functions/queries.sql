-- name: vars
-- A function's variables as JSON, for a column of a select on functions.
(
    SELECT coalesce(json_agg(v), '[]'::json)
    FROM (
        SELECT * FROM variables
        WHERE variables.project_id = functions.project_id AND variables.function_id = functions.function_id
        ORDER BY variables.sequence LIMIT 1000
    ) AS v
) AS vars

-- name: functions
-- Whole functions by project and id.
SELECT wanted.ord, functions.*, functions.xmin::text AS token, {vars}
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (project_id, function_id, ord)
JOIN functions ON functions.project_id = wanted.project_id AND functions.function_id = wanted.function_id;

-- name: unfinished_uploads
-- Deployments of a function whose uploads are not complete.
SELECT deployment_id FROM deployments WHERE project_id = %s AND function_id = %s AND source_key = '';

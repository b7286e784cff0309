-- name: owners
-- Which functions some deployments belong to.
SELECT v.project_id, v.function_id FROM row_versions v
WHERE v.kind = 'deployments' AND v.to_position = 9223372036854775807
    AND (v.project_id, v.id) IN (SELECT * FROM unnest(%(projects)s::text[], %(deployments)s::text[]));

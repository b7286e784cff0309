-- name: rules
-- Rules by project and id, with the active deployment.
SELECT wanted.ord, r.*, f.deployment_id
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS wanted (project_id, rule_id, ord)
JOIN rules r ON r.project_id = wanted.project_id AND r.rule_id = wanted.rule_id
JOIN functions f ON f.project_id = r.project_id AND f.function_id = r.function_id;

-- name: active
-- The active deployment of a rule's function, as a column.
(
    SELECT f.deployment_id FROM functions f
    WHERE f.project_id = rules.project_id AND f.function_id = rules.function_id
)

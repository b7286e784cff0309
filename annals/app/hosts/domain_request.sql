-- name: rules
-- Rules by domain.
SELECT wanted.ord, r.project_id, r.function_id
FROM unnest(%s::text[]) WITH ORDINALITY AS wanted (domain, ord)
JOIN rules r ON r.domain = wanted.domain;

-- name: index
-- Indexes a batch of events; an indexed event stays.
INSERT INTO audit (
    position, project_id, topic, actor, request, correlation, causation, resource_type, resource_id, recorded_at
)
SELECT
    position, project_id, topic, actor, request, correlation, causation, resource_type, resource_id, recorded_at
FROM json_to_recordset(%(rows)s::json) AS r (
    position bigint, project_id text, topic text, actor text, request text, correlation text, causation bigint,
    resource_type text, resource_id text, recorded_at timestamptz
)
ON CONFLICT (position) DO NOTHING;

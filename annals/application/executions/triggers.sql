-- name: subscribed
-- Functions that are subscribed to one of some names and have code to run, each as it is now.
SELECT project_id, function_id, sequence AS function_sequence, version, deployment_id, policy FROM functions
WHERE project_id = %(project)s AND events && %(names)s::text[] AND deployment_id <> '' AND sequence < %(position)s
ORDER BY sequence;

-- Executions that are tried again, and those that are given up and can be redriven: why the last attempt failed, or empty.
ALTER TABLE executions
    ADD COLUMN retry_at timestamptz,
    ADD COLUMN dead_reason text NOT NULL DEFAULT '';
ALTER TABLE execution_versions
    ADD COLUMN retry_at timestamptz,
    ADD COLUMN dead_reason text NOT NULL DEFAULT '';

CREATE INDEX executions_retries ON executions (retry_at) WHERE retry_at IS NOT NULL;
CREATE INDEX executions_dead ON executions (project_id, function_id, sequence) WHERE dead_reason <> '';

-- Builds that had not ended as their function was deleted. Their rows are gone with it; each is noted here, in the same transaction,
-- until its end is recorded.
CREATE TABLE abandoned_builds (
    stream_id text NOT NULL,
    function_sequence bigint NOT NULL,
    project_id text NOT NULL,
    function_id text NOT NULL,
    build_started_at timestamptz,
    PRIMARY KEY (stream_id, function_sequence)
);

-- Refuses an append that queues the build of a deployment which went with its function after it was read, as `require_function` does.
CREATE FUNCTION require_deployment(stream text) RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM deployments d WHERE d.stream_id = stream) THEN
        RAISE foreign_key_violation USING CONSTRAINT = 'executions_function', MESSAGE = 'the deployment is gone';
    END IF;
END
$$;

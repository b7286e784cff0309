-- Refuses to activate or delete a deployment that went with a former function of the same id: its stream goes on, its row does not.
CREATE FUNCTION require_known_deployment(stream text) RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM deployments d WHERE d.stream_id = stream) THEN
        RAISE foreign_key_violation USING CONSTRAINT = 'deployments_id', MESSAGE = 'the deployment is gone';
    END IF;
END
$$;

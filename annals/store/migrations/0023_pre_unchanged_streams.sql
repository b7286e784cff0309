-- Refuses an append whose decision rests on streams that have moved on since they were read. It looks like the violation of
-- the stream's key that it is in effect, so that whoever appends loads and decides again.
CREATE FUNCTION require_unchanged(streams text[], versions bigint[]) RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    IF EXISTS (
        SELECT FROM unnest(streams, versions) AS read (stream, version)
        JOIN events e ON e.originator_id = read.stream AND e.originator_version > read.version
    ) THEN
        RAISE unique_violation USING
            CONSTRAINT = 'events_stream_key', MESSAGE = 'a stream that was read has moved on';
    END IF;
END
$$;

-- Refuses an append that is made for a function which went, or was made anew, after it was read. It looks like the violation of a
-- key that refers to the function, so that whoever appends knows what to answer; a key itself would cost deletions their batches.
CREATE FUNCTION require_function(stream text, incarnation bigint) RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM functions f WHERE f.stream_id = stream AND f.sequence = incarnation) THEN
        RAISE foreign_key_violation USING CONSTRAINT = 'executions_function', MESSAGE = 'the function is gone';
    END IF;
END
$$;

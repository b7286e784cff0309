-- Refuses an append of values that a data key sealed which is not, or no longer, their project's: nobody could read them. It
-- looks like the violation of a key that refers to data_keys, so that the program seals again and tries again.
CREATE FUNCTION require_data_keys(projects text[], keys text[]) RETURNS void
    LANGUAGE plpgsql
AS $$
BEGIN
    IF EXISTS (
        SELECT FROM unnest(projects, keys) AS used (project, key_id)
        WHERE NOT EXISTS (SELECT FROM data_keys k WHERE k.project = used.project AND k.key_id = used.key_id)
    ) THEN
        RAISE foreign_key_violation USING
            CONSTRAINT = 'data_keys_current', MESSAGE = 'a value was sealed by a key that is gone';
    END IF;
END
$$;

-- Executions whose events were archived leave holes in the log's table; the searchable lines of events have none. So a
-- time that lies in an archived stretch is found among those, and a later one in the log itself, which is ahead of them.
CREATE FUNCTION audited_position_at(moment timestamptz) RETURNS bigint
    LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
    low bigint := 0;
    high bigint := coalesce((SELECT max(position) FROM audit), 0);
    middle bigint;
    found record;
BEGIN
    WHILE low < high LOOP
        middle := low + (high - low + 1) / 2;
        SELECT position, recorded_at INTO found FROM audit WHERE position >= middle ORDER BY position LIMIT 1;
        IF found.recorded_at <= moment THEN
            low := found.position;
        ELSE
            high := middle - 1;
        END IF;
    END LOOP;
    RETURN coalesce((SELECT max(position) FROM audit WHERE position <= low), 0);
END
$$;

CREATE OR REPLACE FUNCTION position_at(moment timestamptz) RETURNS bigint
    LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $$
DECLARE
    low bigint := 0;
    high bigint := coalesce((SELECT max(notification_id) FROM events), 0);
    middle bigint;
    found record;
BEGIN
    -- At `low` and below everything is early enough, above `high` nothing is.
    WHILE low < high LOOP
        middle := low + (high - low + 1) / 2;
        SELECT notification_id, recorded_at INTO found FROM events
            WHERE notification_id >= middle ORDER BY notification_id LIMIT 1;
        IF found.recorded_at <= moment THEN
            low := found.notification_id;
        ELSE
            high := middle - 1;
        END IF;
    END LOOP;
    low := coalesce((SELECT max(notification_id) FROM events WHERE notification_id <= low), 0);
    IF EXISTS (SELECT FROM archive_segments WHERE last_position > low) THEN
        low := greatest(low, audited_position_at(moment));
    END IF;
    RETURN low;
END
$$;

-- The event log and what the store keeps beside it. Read models come in later files.

CREATE TABLE events (
    notification_id bigserial PRIMARY KEY,
    originator_id text COLLATE "C" NOT NULL,
    originator_version bigint NOT NULL,
    topic text COLLATE "C" NOT NULL,
    state bytea NOT NULL,
    -- Streams are named <aggregate>:<project>[:<id>]; generated, so that it cannot disagree with the stream.
    project text COLLATE "C" NOT NULL GENERATED ALWAYS AS (split_part(originator_id, ':', 2)) STORED,
    -- Whole milliseconds, as the API shows them, so that a time a client was told finds the very same position.
    recorded_at timestamptz NOT NULL,
    CONSTRAINT events_stream_key UNIQUE (originator_id, originator_version)
);

CREATE INDEX events_project_feed ON events (project, notification_id);

CREATE TABLE snapshots (
    originator_id text COLLATE "C" NOT NULL,
    originator_version bigint NOT NULL,
    -- A digest of the code that made the snapshot: other code folds the events again.
    shape text COLLATE "C" NOT NULL,
    state bytea NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (originator_id, originator_version)
);

CREATE TABLE checkpoints (
    name text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL DEFAULT 0,
    -- Why the follower stands still at this position; empty while it goes on.
    error text NOT NULL DEFAULT '',
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE contents (
    stream text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    digest text COLLATE "C" NOT NULL,
    size bigint NOT NULL,
    data bytea,
    blob text COLLATE "C",
    PRIMARY KEY (stream, version, kind),
    CHECK ((data IS NULL) <> (blob IS NULL))
);

CREATE INDEX contents_blob ON contents (blob) WHERE blob IS NOT NULL;

CREATE TABLE data_keys (
    project text COLLATE "C" PRIMARY KEY,
    -- Every sealed value names its key, so that one of a deleted project is told from one that was altered.
    key_id text NOT NULL,
    wrapped bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE leases (
    holder text COLLATE "C" PRIMARY KEY,
    role text NOT NULL,
    host text NOT NULL,
    pid bigint NOT NULL,
    beats bigint NOT NULL DEFAULT 0,
    doing text NOT NULL DEFAULT '',
    started_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE FUNCTION event_position(stream text, version bigint) RETURNS bigint
    LANGUAGE sql STABLE PARALLEL SAFE
    BEGIN ATOMIC
        SELECT notification_id FROM events WHERE originator_id = stream AND originator_version = version;
    END;

CREATE FUNCTION event_time(stream text, version bigint) RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
    BEGIN ATOMIC
        SELECT recorded_at FROM events WHERE originator_id = stream AND originator_version = version;
    END;

-- The highest position recorded at or before a moment (0 before the first): time never runs against position, so
-- halving finds it without an index that every append would pay for.
CREATE FUNCTION position_at(moment timestamptz) RETURNS bigint
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
    RETURN coalesce((SELECT max(notification_id) FROM events WHERE notification_id <= low), 0);
END
$$;

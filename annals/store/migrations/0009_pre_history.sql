-- What the history of an instance is read from: who did what, and every row as it was between two positions.

-- One line an event, found by who, what, when and why (the log itself is found by position and by stream).
CREATE TABLE audit (
    position bigint PRIMARY KEY,
    project_id text COLLATE "C" NOT NULL,
    topic text COLLATE "C" NOT NULL,
    actor text COLLATE "C" NOT NULL,
    request text COLLATE "C" NOT NULL,
    correlation text COLLATE "C" NOT NULL,
    -- The position of the event that this one reacts to, 0 for none.
    causation bigint NOT NULL
);
CREATE INDEX audit_topics ON audit (project_id, topic, position);
CREATE INDEX audit_actors ON audit (project_id, actor, position);
CREATE INDEX audit_correlations ON audit (project_id, correlation) WHERE correlation <> '';
CREATE INDEX audit_causes ON audit (causation) WHERE causation <> 0;

-- Rows of projects, functions, variables and deployments as they were at from_position and until before to_position, which is
-- the greatest bigint for those that are. Images are whole rows by column; `kind` is the live table, `id` the row's
-- own; what belongs to no function (a project, a variable of all functions) has none.
CREATE TABLE row_versions (
    kind text COLLATE "C" NOT NULL,
    project_id text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    function_id text COLLATE "C" NOT NULL,
    sequence bigint NOT NULL,
    from_position bigint NOT NULL,
    to_position bigint NOT NULL DEFAULT 9223372036854775807,
    image jsonb NOT NULL,
    PRIMARY KEY (kind, project_id, id, from_position)
);
-- A row's first version tells that it began, so that lists of long ago look at each row once, however often it changed.
CREATE INDEX row_versions_begun ON row_versions (kind, project_id, function_id, sequence)
    WHERE from_position = sequence;
CREATE INDEX row_versions_open ON row_versions (kind, project_id, function_id)
    WHERE to_position = 9223372036854775807;

-- The same for executions, which are many and change a few times each: in columns, so that filters can look at them.
CREATE TABLE execution_versions (
    LIKE executions INCLUDING DEFAULTS,
    from_position bigint NOT NULL,
    to_position bigint NOT NULL DEFAULT 9223372036854775807,
    PRIMARY KEY (stream_id, from_position)
);
CREATE INDEX execution_versions_order ON execution_versions (project_id, function_id, sequence);

-- What a trigger of the row_versions follower does with a changed row; the follower says at which position it works.
CREATE FUNCTION keep_row_version() RETURNS trigger
    LANGUAGE plpgsql
AS $$
DECLARE
    at bigint := current_setting('annals.position');
    former jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    image jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    own_id text := coalesce(image, former) ->> TG_ARGV[0];
BEGIN
    IF former IS NOT NULL THEN
        DELETE FROM row_versions v
        WHERE v.kind = TG_TABLE_NAME AND v.project_id = former ->> 'project_id' AND v.id = own_id
            AND v.from_position = at;
        UPDATE row_versions v SET to_position = at
        WHERE v.kind = TG_TABLE_NAME AND v.project_id = former ->> 'project_id' AND v.id = own_id
            AND v.from_position < at AND v.to_position = 9223372036854775807;
    END IF;
    IF image IS NOT NULL THEN
        INSERT INTO row_versions (kind, project_id, id, function_id, sequence, from_position, image)
        VALUES (TG_TABLE_NAME, image ->> 'project_id', own_id, coalesce(image ->> 'function_id', ''),
            (image ->> 'sequence')::bigint, at, image);
    END IF;
    RETURN NULL;
END
$$;

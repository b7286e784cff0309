-- name: lock
-- One at a time works in the scratch tables: the follower, or a replay.
SELECT pg_advisory_xact_lock(%(key)s);

-- name: shapes
-- The live tables' columns and the scratch tables', as two digests; equal when the scratch tables are up to date.
SELECT
    md5(string_agg(shape, ',' ORDER BY shape) FILTER (WHERE live)) AS live,
    md5(string_agg(shape, ',' ORDER BY shape) FILTER (WHERE NOT live)) AS scratch
FROM (
    SELECT n.nspname = 'public' AS live, format('%%s.%%s %%s %%s', c.relname, a.attname, a.atttypid, a.attgenerated) AS shape
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE n.nspname IN ('public', %(schema)s) AND c.relname = ANY(%(tables)s::text[]) AND c.relkind = 'r'
        AND a.attnum > 0 AND NOT a.attisdropped
) AS columns;

-- name: defaults
-- A live table's columns, those that are made of others left out, with what Postgres calls their defaults.
SELECT a.attname AS name, pg_get_expr(d.adbin, d.adrelid) AS expression
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %(table)s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY a.attnum;

-- name: search_path
-- Where a connection looks for tables.
SELECT current_setting('search_path') AS path;

-- name: look_in
-- Look for tables elsewhere until the transaction ends.
SELECT set_config('search_path', %(path)s, true);

-- name: work_at
-- The position at which rows change from now on; empty for none, then no version is kept of a change.
SELECT set_config('annals.position', %(position)s, true);

-- name: placed
-- What makes a statement work at a position, as a part of it that always runs and changes nothing.
INSERT INTO {schema}.nothing SELECT WHERE set_config('annals.position', %(annals_position)s, true) = '';

-- name: make_changes
-- What happened to rows, in order; and a table that nothing is ever written to.
CREATE UNLOGGED TABLE {schema}.changes (
    number bigserial, kind text COLLATE "C", project_id text COLLATE "C", id text COLLATE "C",
    function_id text COLLATE "C", sequence bigint, position bigint, image jsonb
);
CREATE UNLOGGED TABLE {schema}.nothing ();

-- name: make_keeper
-- What a trigger does with a changed row; the argument is the column of its own id.
CREATE FUNCTION {schema}.keep() RETURNS trigger
    LANGUAGE plpgsql
AS $$
DECLARE
    gone boolean := TG_OP = 'DELETE';
    image jsonb := CASE WHEN TG_OP = 'DELETE' THEN to_jsonb(OLD) ELSE to_jsonb(NEW) END;
BEGIN
    INSERT INTO {schema}.changes (kind, project_id, id, function_id, sequence, position, image)
    VALUES (TG_TABLE_NAME, image ->> 'project_id', image ->> TG_ARGV[0], coalesce(image ->> 'function_id', ''),
        (image ->> 'sequence')::bigint, current_setting('annals.position')::bigint,
        CASE WHEN NOT gone THEN image END);
    RETURN NULL;
END
$$;

-- name: make_trigger
-- Rows that fill the table are none that changed: then there is no position.
CREATE TRIGGER keep AFTER INSERT OR UPDATE OR DELETE ON {schema}.{table} FOR EACH ROW
    WHEN (current_setting('annals.position', true) <> '') EXECUTE FUNCTION {schema}.keep({own_id});

-- name: fill
-- Rows as they are before a batch, of what it may touch.
INSERT INTO {scratch} ({columns})
SELECT {images}
FROM row_versions v CROSS JOIN LATERAL jsonb_populate_record(NULL::{live}, v.image) AS image
WHERE v.kind = {kind} AND v.to_position = 9223372036854775807 AND (v.project_id = ANY(%(projects)s::text[])
    OR (v.project_id, v.function_id) IN (SELECT * FROM unnest(%(owners)s::text[], %(functions)s::text[])));

-- name: keep
-- Versions of rows from the changes of a batch: of those at one position the last counts, and each ends with the next;
-- the last before its row is gone says so.
WITH last AS MATERIALIZED (
    SELECT DISTINCT ON (kind, project_id, id, position) * FROM annals_changes.changes
    ORDER BY kind, project_id, id, position, number DESC
), ended AS (
    UPDATE row_versions v SET to_position = first.position, gone = first.image IS NULL
    FROM (
        SELECT DISTINCT ON (kind, project_id, id) * FROM last ORDER BY kind, project_id, id, position
    ) AS first
    WHERE v.kind = first.kind AND v.project_id = first.project_id AND v.id = first.id
        AND v.to_position = 9223372036854775807
)
INSERT INTO row_versions (kind, project_id, id, function_id, sequence, from_position, to_position, gone, image)
SELECT
    kind, project_id, id, function_id, sequence, position, coalesce(next, 9223372036854775807),
    next IS NOT NULL AND NOT goes_on, image
FROM (
    SELECT *, lead(position) OVER following AS next, lead(image IS NOT NULL) OVER following AS goes_on
    FROM last WINDOW following AS (PARTITION BY kind, project_id, id ORDER BY position)
) AS versions
WHERE image IS NOT NULL;

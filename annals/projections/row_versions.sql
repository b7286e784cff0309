-- name: owners
-- The functions of some deployments.
SELECT v.project_id, v.function_id FROM row_versions v
WHERE v.kind = 'deployments' AND v.to_position = 9223372036854775807
    AND (v.project_id, v.id) IN (SELECT * FROM unnest(%(projects)s::text[], %(deployments)s::text[]));

-- name: lock
-- Lets one transaction at a time use the staging tables: the follower's, or a replay's.
SELECT pg_advisory_xact_lock(%(key)s);

-- name: shapes
-- The live tables' columns and the staging tables', as two digests; equal if the staging tables are up to date.
SELECT
    md5(string_agg(shape, ',' ORDER BY shape) FILTER (WHERE live)) AS live,
    md5(string_agg(shape, ',' ORDER BY shape) FILTER (WHERE NOT live)) AS staging
FROM (
    SELECT n.nspname = 'public' AS live, format('%%s.%%s %%s %%s', c.relname, a.attname, a.atttypid, a.attgenerated) AS shape
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE n.nspname IN ('public', %(schema)s) AND c.relname = ANY(%(tables)s::text[]) AND c.relkind = 'r'
        AND a.attnum > 0 AND NOT a.attisdropped
) AS columns;

-- name: defaults
-- A live table's columns with their default expressions, without generated columns.
SELECT a.attname AS name, pg_get_expr(d.adbin, d.adrelid) AS expression
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %(table)s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY a.attnum;

-- name: search_path
-- The connection's search path.
SELECT current_setting('search_path') AS path;

-- name: set_search_path
-- Sets the search path until the transaction ends.
SELECT set_config('search_path', %(path)s, true);

-- name: set_position
-- Sets the position of the following changes, for the triggers; with an empty one they record no change.
SELECT set_config('annals.position', %(position)s, true);

-- name: create_changes
-- The changes of a batch, in their order.
CREATE UNLOGGED TABLE {schema}.changes (
    number bigserial, kind text COLLATE "C", project_id text COLLATE "C", id text COLLATE "C",
    function_id text COLLATE "C", sequence bigint, position bigint, image jsonb
);

-- name: create_trigger_function
-- Records a changed row; the argument is the column of the row's own id.
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

-- name: create_trigger
-- Rows that fill the table are no changes: then the position is empty.
CREATE TRIGGER keep AFTER INSERT OR UPDATE OR DELETE ON {schema}.{table} FOR EACH ROW
    WHEN (current_setting('annals.position', true) <> '') EXECUTE FUNCTION {schema}.keep({own_id});

-- name: add_defaults
-- Gives the versions that lack a column its default.
UPDATE public.row_versions v SET image = defaults.image || v.image
FROM (SELECT jsonb_build_object({defaults}) AS image) AS defaults
WHERE v.kind = {kind} AND NOT v.image ?& ARRAY(SELECT jsonb_object_keys(defaults.image));

-- name: fill
-- The rows before a batch that the batch can change.
INSERT INTO {staging} ({columns})
SELECT {images}
FROM row_versions v CROSS JOIN LATERAL jsonb_populate_record(NULL::{live}, v.image) AS image
WHERE v.kind = {kind} AND v.to_position = 9223372036854775807 AND (v.project_id = ANY(%(projects)s::text[])
    OR (v.project_id, v.function_id) IN (SELECT * FROM unnest(%(owners)s::text[], %(functions)s::text[])));

-- name: add_versions
-- Versions from the changes of a batch. Of several changes at one position the last one counts. A version ends with the
-- next one of its row; the last version of a deleted row is marked as gone.
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

-- name: open_executions
-- Executions that exist, as they are before a batch.
SELECT * FROM execution_versions WHERE stream_id = ANY(%(streams)s::text[]) AND to_position = 9223372036854775807;

-- name: end_executions
-- Ends the versions that a batch replaces.
UPDATE execution_versions v SET to_position = ended.at
FROM unnest(%(streams)s::text[], %(begun)s::bigint[], %(ended)s::bigint[]) AS ended (stream, begun, at)
WHERE v.stream_id = ended.stream AND v.from_position = ended.begun;

-- name: add_executions
-- Adds the versions of a batch.
INSERT INTO execution_versions SELECT * FROM json_populate_recordset(NULL::execution_versions, %(rows)s::json);

-- name: sweep_executions
-- Ends the versions of a function's oldest executions: all of them if the function is gone, else the ended ones.
UPDATE execution_versions SET to_position = %(position)s
WHERE project_id = %(project_id)s AND function_id = %(function_id)s AND function_sequence = %(function_sequence)s
    AND sequence <= %(up_to)s AND (%(all)s OR status IN ('completed', 'failed'))
    AND to_position = 9223372036854775807;

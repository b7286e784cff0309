-- The usage cube: everything the usage ledger books, and how long calls took, by minute, quarter of an hour, hour and
-- day. A cube tells apart what its name says and leaves the other keys empty: `all` every key, `place` function and
-- deployment, `outcome` trigger, status and reason, `size` the specification, `total` none. Minutes are there for `all`
-- only, and go when retention removes their executions.
CREATE TABLE usage_cells (
    project_id text COLLATE "C" NOT NULL,
    cube text COLLATE "C" NOT NULL,
    grain smallint NOT NULL, -- minutes
    bucket timestamptz NOT NULL,
    function_id text COLLATE "C" NOT NULL,
    function_sequence bigint NOT NULL,
    deployment_id text COLLATE "C" NOT NULL,
    trigger text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    reason text COLLATE "C" NOT NULL,
    specification text COLLATE "C" NOT NULL,
    functions bigint NOT NULL,
    deployments bigint NOT NULL,
    deployments_storage bigint NOT NULL,
    builds bigint NOT NULL,
    builds_success bigint NOT NULL,
    builds_failed bigint NOT NULL,
    builds_storage bigint NOT NULL,
    builds_time_ms bigint NOT NULL,
    builds_mb_seconds bigint NOT NULL,
    executions bigint NOT NULL,
    executions_time_ms bigint NOT NULL,
    executions_mb_seconds bigint NOT NULL,
    errors bigint NOT NULL,
    cold_starts bigint NOT NULL,
    queue_ms bigint NOT NULL,
    sketch numeric NOT NULL, -- of durations: twelve decimal digits a bin, so that sketches merge by sum()
    position bigint NOT NULL, -- the newest event counted
    PRIMARY KEY (
        project_id, cube, grain, bucket, function_id, function_sequence, deployment_id, trigger, status, reason,
        specification
    )
);
CREATE INDEX usage_cells_sweep ON usage_cells (project_id, function_id, function_sequence, position)
    WHERE cube = 'all' AND grain = 1;

-- The follower fills the cube from the beginning, with the ledger. A log that has archived stretches is rebuilt by
-- `annals replay rebuild usage`, which reads them too; until then the cube begins now.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM archive_segments) THEN
        TRUNCATE usage_ledger, usage_totals, usage_deployments;
        UPDATE checkpoints SET position = 0 WHERE name = 'usage';
    END IF;
END $$;

CREATE SCHEMA analytics;

CREATE FUNCTION analytics.percentile(sketch numeric, share double precision) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    digits text := sketch::text;
    counts bigint[] := '{}';
    total bigint := 0;
    rank bigint;
BEGIN
    IF sketch = 0 THEN RETURN NULL; END IF;
    digits := lpad(digits, ((length(digits) + 11) / 12) * 12, '0');
    FOR n IN 0 .. length(digits) / 12 - 1 LOOP
        counts := counts || substr(digits, length(digits) - 12 * n - 11, 12)::bigint;
        total := total + counts[n + 1];
    END LOOP;
    rank := greatest(1, ceil(share * total));
    FOR n IN 0 .. array_length(counts, 1) - 1 LOOP
        rank := rank - counts[n + 1];
        IF rank <= 0 THEN
            RETURN CASE WHEN n = 0 THEN 0 ELSE 2 * power(1.05::double precision, n - 1) / 2.05 END;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION analytics.percentile IS
    'Milliseconds below which a share (0 to 1) of the calls lies, within 2.5 %: percentile(sum(durations), 0.95)';

-- A rebuild puts new tables in the place of the old ones; calling this again lets the views read the new ones.
CREATE FUNCTION analytics_views() RETURNS void LANGUAGE plpgsql AS $function$
DECLARE
    span record;
BEGIN
    FOR span IN SELECT * FROM (VALUES
        ('usage_minutes', 1), ('usage_quarters', 15), ('usage_hours', 60), ('usage_days', 1440)
    ) AS spans (name, grain) LOOP
        EXECUTE format($view$
            CREATE OR REPLACE VIEW analytics.%I AS
            SELECT project_id, bucket AS begins_at, function_id, deployment_id, trigger, status, reason, specification,
                executions, errors, executions_time_ms AS duration_ms, executions_mb_seconds AS mb_seconds,
                cold_starts, queue_ms, builds, builds_success, builds_failed, builds_time_ms AS build_ms,
                builds_mb_seconds AS build_mb_seconds, functions AS functions_change,
                deployments AS deployments_change, deployments_storage AS storage_change,
                builds_storage AS build_storage_change, sketch AS durations
            FROM public.usage_cells WHERE cube = 'all' AND grain = %s
        $view$, span.name, span.grain);
    END LOOP;
    CREATE OR REPLACE VIEW analytics.executions AS
    SELECT project_id, execution_id, function_id, deployment_id, trigger, status, reason, specification,
        response_status_code, cold, queue_ms, start_ms, duration_ms, scheduled_at, started_at, created_at, updated_at
    FROM public.executions;
    CREATE OR REPLACE VIEW analytics.functions AS
    SELECT project_id, function_id, name, runtime, deployment_id, created_at, updated_at FROM public.functions;
    CREATE OR REPLACE VIEW analytics.deployments AS
    SELECT project_id, deployment_id, function_id, status, source_size, build_size, build_duration, build_started_at,
        build_ended_at, created_at, updated_at
    FROM public.deployments;
END $function$;
SELECT analytics_views();

-- A role that reads these views and nothing else, to be granted to whoever brings tools of their own. It is the
-- server's, not the database's: other databases may have made it, and a user who may make none can do without.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'annals_analytics') THEN
        CREATE ROLE annals_analytics NOLOGIN;
    END IF;
EXCEPTION
    WHEN insufficient_privilege THEN RAISE NOTICE 'no role annals_analytics: this user may not create roles';
    WHEN duplicate_object OR unique_violation THEN NULL;
END $$;
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'annals_analytics') THEN
        GRANT USAGE ON SCHEMA analytics TO annals_analytics;
        GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO annals_analytics;
    END IF;
END $$;

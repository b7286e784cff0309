-- Hours and days have tables of their own, so that months are read from few pages. Same columns as usage_cells.
CREATE TABLE usage_hours (LIKE usage_cells INCLUDING DEFAULTS);
ALTER TABLE usage_hours ADD PRIMARY KEY (
    project_id, cube, grain, bucket, function_id, function_sequence, deployment_id, trigger, status, reason,
    specification
);
CREATE TABLE usage_days (LIKE usage_cells INCLUDING DEFAULTS);
ALTER TABLE usage_days ADD PRIMARY KEY (
    project_id, cube, grain, bucket, function_id, function_sequence, deployment_id, trigger, status, reason,
    specification
);
INSERT INTO usage_hours SELECT * FROM usage_cells WHERE grain = 60 ORDER BY project_id, cube, bucket;
INSERT INTO usage_days SELECT * FROM usage_cells WHERE grain = 1440 ORDER BY project_id, cube, bucket;
DELETE FROM usage_cells WHERE grain >= 60;

CREATE OR REPLACE FUNCTION analytics_views() RETURNS void LANGUAGE plpgsql AS $function$
DECLARE
    span record;
BEGIN
    FOR span IN SELECT * FROM (VALUES
        ('usage_minutes', 1, 'usage_cells'), ('usage_quarters', 15, 'usage_cells'), ('usage_hours', 60, 'usage_hours'),
        ('usage_days', 1440, 'usage_days')
    ) AS spans (name, grain, source) LOOP
        EXECUTE format($view$
            CREATE OR REPLACE VIEW analytics.%I AS
            SELECT project_id, bucket AS begins_at, function_id, deployment_id, trigger, status, reason, specification,
                executions, errors, executions_time_ms AS duration_ms, executions_mb_seconds AS mb_seconds,
                cold_starts, queue_ms, builds, builds_success, builds_failed, builds_time_ms AS build_ms,
                builds_mb_seconds AS build_mb_seconds, functions AS functions_change,
                deployments AS deployments_change, deployments_storage AS storage_change,
                builds_storage AS build_storage_change, sketch AS durations
            FROM public.%I WHERE cube = 'all' AND grain = %s
        $view$, span.name, span.source, span.grain);
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

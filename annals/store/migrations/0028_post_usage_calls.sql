-- The cube of calls is made of the cells that tell every key apart. From here on the follower adds to it, which a program
-- of before does not: until this file is applied it is neither written nor read.
SELECT pg_advisory_xact_lock(4105002); -- no rebuild of these tables goes on meanwhile
SELECT FROM checkpoints WHERE name = 'usage' FOR UPDATE; -- nor does the follower
DO $$
DECLARE
    source text;
BEGIN
    FOREACH source IN ARRAY ARRAY['usage_cells', 'usage_hours', 'usage_days'] LOOP
        EXECUTE format($insert$
            INSERT INTO usage_calls (
                project_id, cube, grain, bucket, function_id, function_sequence, deployment_id, trigger, status, reason,
                specification, functions, deployments, deployments_storage, builds, builds_success, builds_failed,
                builds_storage, builds_time_ms, builds_mb_seconds, executions, executions_time_ms,
                executions_mb_seconds, errors, cold_starts, queue_ms, sketch, position
            )
            SELECT
                project_id, 'call', grain, bucket, function_id, function_sequence, '', trigger, '', '', '',
                sum(functions), sum(deployments), sum(deployments_storage), sum(builds), sum(builds_success),
                sum(builds_failed), sum(builds_storage), sum(builds_time_ms), sum(builds_mb_seconds), sum(executions),
                sum(executions_time_ms), sum(executions_mb_seconds), sum(errors), sum(cold_starts), sum(queue_ms),
                sum(sketch), max(position)
            FROM %1$I WHERE cube = 'all' AND grain > 1
            GROUP BY project_id, grain, bucket, function_id, function_sequence, trigger
        $insert$, source);
    END LOOP;
END $$;

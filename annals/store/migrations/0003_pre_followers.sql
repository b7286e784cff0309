-- What followers and workers keep beside the inline read models.

-- The output of builds that have not ended, piece by piece; a build that ended has its whole log among the contents.
-- What a reader sees is the pieces of the deployment's own epoch, by seq; a canceled build keeps them.
CREATE TABLE build_logs (
    stream_id text COLLATE "C" NOT NULL,
    epoch integer NOT NULL,
    seq integer NOT NULL,
    chunk text NOT NULL,
    PRIMARY KEY (stream_id, epoch, seq)
);

-- Every function, by the schedules follower: when it is due next (null without a cron expression and an active
-- deployment) and when it fired last. A function's scheduleNext and schedulePrevious are these, by stream_id.
CREATE TABLE schedules (
    stream_id text COLLATE "C" PRIMARY KEY,
    project_id text NOT NULL,
    function_id text NOT NULL,
    function_sequence bigint NOT NULL,
    schedule text NOT NULL,
    deployment_id text NOT NULL,
    schedule_next timestamptz,
    schedule_previous timestamptz
);
CREATE INDEX schedules_due ON schedules (schedule_next) WHERE schedule_next IS NOT NULL;

-- Which blobs deployments name, for the sweeper of those that none does.
CREATE INDEX deployments_source ON deployments (source_key) WHERE source_key <> '';
CREATE INDEX deployments_artefact ON deployments (artefact_key) WHERE artefact_key <> '';

-- The usage ledger's sums over all time, so that nobody adds up years of buckets.
CREATE TABLE usage_totals (
    project_id text NOT NULL,
    function_id text NOT NULL,
    function_sequence bigint NOT NULL,
    metric text NOT NULL,
    value double precision NOT NULL,
    PRIMARY KEY (project_id, function_id, function_sequence, metric)
);

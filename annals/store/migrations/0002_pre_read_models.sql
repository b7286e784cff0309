-- The inline read models: written in the append's own transaction, read by every API process at once.
-- `sequence` is the position of the row's creation (insertion order, and the incarnation children carry);
-- `stream_id` and `version` name the last event applied, so that a repeat changes nothing.
-- Times are the log's recorded_at. updated_at moves by at least one millisecond with every visible change, also with
-- those that another stream's event makes (a deployment's on its function); version only with the stream's own events.
-- When a function is due next is the schedules follower's knowledge: table schedules (0003).

CREATE TABLE projects (
    stream_id text PRIMARY KEY,
    version bigint NOT NULL,
    sequence bigint NOT NULL,
    project_id text NOT NULL CONSTRAINT projects_id UNIQUE,
    name text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE keys (
    project_id text NOT NULL,
    key_id text NOT NULL,
    sequence bigint NOT NULL,
    name text NOT NULL,
    digest text NOT NULL CONSTRAINT keys_digest UNIQUE,
    scopes text[] NOT NULL,
    expires_at timestamptz,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, key_id)
);

CREATE TABLE functions (
    stream_id text PRIMARY KEY,
    version bigint NOT NULL,
    sequence bigint NOT NULL,
    project_id text NOT NULL,
    function_id text NOT NULL,
    name text NOT NULL,
    runtime text NOT NULL,
    execute text[] NOT NULL,
    events text[] NOT NULL,
    schedule text NOT NULL,
    timeout integer NOT NULL,
    enabled boolean NOT NULL,
    logging boolean NOT NULL,
    entrypoint text NOT NULL,
    commands text NOT NULL,
    scopes text[] NOT NULL,
    installation_id text NOT NULL,
    provider_repository_id text NOT NULL,
    provider_branch text NOT NULL,
    provider_root_directory text NOT NULL,
    provider_silent_mode boolean NOT NULL,
    provider_branches text[] NOT NULL,
    provider_paths text[] NOT NULL,
    build_specification text NOT NULL,
    runtime_specification text NOT NULL,
    deployment_retention integer NOT NULL,
    live boolean NOT NULL,
    deployment_id text NOT NULL DEFAULT '',
    deployment_created_at timestamptz,
    latest_deployment_id text NOT NULL DEFAULT '',
    latest_deployment_created_at timestamptz,
    latest_deployment_status text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT functions_id UNIQUE (project_id, function_id)
);
CREATE INDEX functions_order ON functions (project_id, sequence);

CREATE TABLE variables (
    project_id text NOT NULL,
    variable_id text NOT NULL,
    function_id text NOT NULL,
    function_sequence bigint NOT NULL,
    sequence bigint NOT NULL,
    version bigint NOT NULL,
    key text NOT NULL,
    sealed text NOT NULL,
    secret boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT variables_id PRIMARY KEY (project_id, variable_id)
);
CREATE INDEX variables_order ON variables (project_id, function_id, sequence);

CREATE TABLE deployments (
    stream_id text PRIMARY KEY,
    version bigint NOT NULL,
    sequence bigint NOT NULL,
    project_id text NOT NULL,
    deployment_id text NOT NULL,
    function_id text NOT NULL,
    function_sequence bigint NOT NULL,
    type text NOT NULL,
    entrypoint text NOT NULL,
    commands text NOT NULL,
    activate boolean NOT NULL,
    status text NOT NULL,
    upload_size bigint NOT NULL,
    source_key text NOT NULL DEFAULT '',
    source_digest text NOT NULL DEFAULT '',
    source_size bigint NOT NULL DEFAULT 0,
    artefact_key text NOT NULL DEFAULT '',
    artefact_digest text NOT NULL DEFAULT '',
    build_size bigint NOT NULL DEFAULT 0,
    total_size bigint GENERATED ALWAYS AS (source_size + build_size) STORED,
    build_duration integer NOT NULL DEFAULT 0,
    build_started_at timestamptz,
    build_ended_at timestamptz,
    queued_at timestamptz,
    worker text NOT NULL DEFAULT '',
    epoch integer NOT NULL DEFAULT 0,
    reason text NOT NULL DEFAULT '',
    logs_version bigint NOT NULL DEFAULT 0,
    provider_repository_name text NOT NULL DEFAULT '',
    provider_repository_owner text NOT NULL DEFAULT '',
    provider_repository_url text NOT NULL DEFAULT '',
    provider_commit_hash text NOT NULL DEFAULT '',
    provider_commit_author_url text NOT NULL DEFAULT '',
    provider_commit_author text NOT NULL DEFAULT '',
    provider_commit_message text NOT NULL DEFAULT '',
    provider_commit_url text NOT NULL DEFAULT '',
    provider_branch text NOT NULL DEFAULT '',
    provider_branch_url text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT deployments_id UNIQUE (project_id, deployment_id)
);
CREATE INDEX deployments_order ON deployments (project_id, function_id, sequence);
CREATE INDEX deployments_open ON deployments (sequence) WHERE status IN ('waiting', 'processing', 'building');

CREATE TABLE executions (
    stream_id text PRIMARY KEY,
    version bigint NOT NULL,
    sequence bigint NOT NULL,
    project_id text NOT NULL,
    execution_id text NOT NULL,
    function_id text NOT NULL,
    function_sequence bigint NOT NULL,
    deployment_id text NOT NULL,
    function_version bigint NOT NULL,
    trigger text NOT NULL,
    status text NOT NULL,
    reason text NOT NULL DEFAULT '',
    message text NOT NULL DEFAULT '',
    user_id text NOT NULL DEFAULT '',
    request_method text NOT NULL,
    request_path text NOT NULL,
    request_headers text NOT NULL DEFAULT '[]',
    response_status_code integer NOT NULL DEFAULT 0,
    response_headers text NOT NULL DEFAULT '[]',
    duration_ms bigint NOT NULL DEFAULT 0,
    queue_ms bigint NOT NULL DEFAULT 0,
    start_ms bigint NOT NULL DEFAULT 0,
    cold boolean NOT NULL DEFAULT false,
    environment_digest text NOT NULL DEFAULT '',
    specification text NOT NULL DEFAULT '',
    logs_version bigint NOT NULL DEFAULT 0,
    logs_size bigint NOT NULL DEFAULT 0,
    errors_size bigint NOT NULL DEFAULT 0,
    input_size bigint NOT NULL DEFAULT 0,
    worker text NOT NULL DEFAULT '',
    epoch integer NOT NULL DEFAULT 0,
    scheduled_at timestamptz,
    started_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT executions_id UNIQUE (project_id, execution_id)
);
CREATE INDEX executions_order ON executions (project_id, function_id, sequence);
CREATE INDEX executions_open ON executions (sequence) WHERE status IN ('waiting', 'processing', 'scheduled');

-- Unfiltered totals without counting: one row for each (project, scope, name); scope is '' or a function's id.
CREATE TABLE counters (
    project_id text NOT NULL,
    scope text NOT NULL,
    name text NOT NULL,
    value bigint NOT NULL,
    PRIMARY KEY (project_id, scope, name)
) WITH (fillfactor = 70);

-- The usage follower's ledger: deltas in 15-minute buckets by recorded_at. Never rewritten, only added to.
CREATE TABLE usage_ledger (
    project_id text NOT NULL,
    function_id text NOT NULL,
    function_sequence bigint NOT NULL,
    bucket timestamptz NOT NULL,
    metric text NOT NULL,
    deployment_id text NOT NULL DEFAULT '',
    trigger text NOT NULL DEFAULT '',
    status text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    specification text NOT NULL DEFAULT '',
    value double precision NOT NULL,
    PRIMARY KEY (project_id, function_id, function_sequence, bucket, metric, deployment_id, trigger, status, reason, specification)
);
CREATE INDEX usage_by_project ON usage_ledger (project_id, metric, bucket);

-- What the usage follower must remember to take sizes away again on deletion.
CREATE TABLE usage_deployments (
    project_id text NOT NULL,
    deployment_id text NOT NULL,
    function_id text NOT NULL,
    function_sequence bigint NOT NULL,
    source_bytes bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (project_id, deployment_id)
);

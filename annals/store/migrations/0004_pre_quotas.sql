-- What a project has tried within a window of time; a bound on load, no fact: it may be emptied.

CREATE TABLE quotas (
    project_id text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    begins_at timestamptz NOT NULL,
    tried bigint NOT NULL,
    PRIMARY KEY (project_id, name, begins_at)
);

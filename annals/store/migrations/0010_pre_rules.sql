-- Host names that run functions, unique over all projects. Written in the append's own transaction.

CREATE TABLE rules (
    stream_id text PRIMARY KEY,
    version bigint NOT NULL,
    sequence bigint NOT NULL,
    project_id text NOT NULL,
    rule_id text NOT NULL,
    domain text NOT NULL,
    function_id text NOT NULL,
    function_sequence bigint NOT NULL,
    branch text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT rules_id UNIQUE (project_id, rule_id),
    CONSTRAINT rules_domain UNIQUE (domain)
);
CREATE INDEX rules_order ON rules (project_id, sequence);
CREATE INDEX rules_function ON rules (project_id, function_id);

-- Sources from repositories: what a deployment's was fetched as, and which hosts a project may fetch from. The
-- credentials of an installation are in the log alone, sealed.

ALTER TABLE deployments
    ADD COLUMN provider_repository_id text NOT NULL DEFAULT '',
    ADD COLUMN provider_root_directory text NOT NULL DEFAULT '';

CREATE TABLE installations (
    project_id text NOT NULL,
    installation_id text NOT NULL,
    sequence bigint NOT NULL,
    provider text NOT NULL,
    organization text NOT NULL,
    url text NOT NULL,
    app_id text NOT NULL,
    provider_installation_id text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT installations_id PRIMARY KEY (project_id, installation_id)
);

-- Who is told when a repository was pushed to.
CREATE INDEX functions_connected ON functions (project_id, installation_id, provider_repository_id)
    WHERE provider_repository_id <> '';

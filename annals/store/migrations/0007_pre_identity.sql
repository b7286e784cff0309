-- Users, their sessions, teams and memberships; what projects serve to whom. Written in the append's own transaction.
-- Names, emails and phones are in clear: they are searched, and an address is unique in its project. The passwords'
-- hashes are sealed; of sessions there is only the digest of their secret.

CREATE TABLE users (
    stream_id text PRIMARY KEY,
    version bigint NOT NULL,
    sequence bigint NOT NULL,
    project_id text NOT NULL,
    user_id text NOT NULL,
    name text NOT NULL,
    email text NOT NULL,
    phone text NOT NULL,
    sealed_password text NOT NULL,
    password_set_at timestamptz,
    enabled boolean NOT NULL DEFAULT true,
    email_verified boolean NOT NULL DEFAULT false,
    phone_verified boolean NOT NULL DEFAULT false,
    labels text[] NOT NULL DEFAULT '{}',
    accessed_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT users_id UNIQUE (project_id, user_id)
);
CREATE INDEX users_order ON users (project_id, sequence);
CREATE UNIQUE INDEX users_email ON users (project_id, email) WHERE email <> '';
CREATE UNIQUE INDEX users_phone ON users (project_id, phone) WHERE phone <> '';

CREATE TABLE sessions (
    project_id text NOT NULL,
    session_id text NOT NULL,
    user_id text NOT NULL,
    sequence bigint NOT NULL,
    digest text NOT NULL,
    provider text NOT NULL,
    ip text NOT NULL,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, user_id, session_id)
);

CREATE TABLE teams (
    stream_id text PRIMARY KEY,
    version bigint NOT NULL,
    sequence bigint NOT NULL,
    project_id text NOT NULL,
    team_id text NOT NULL,
    name text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT teams_id UNIQUE (project_id, team_id)
);
CREATE INDEX teams_order ON teams (project_id, sequence);

CREATE TABLE memberships (
    project_id text NOT NULL,
    membership_id text NOT NULL,
    team_id text NOT NULL,
    user_id text NOT NULL,
    sequence bigint NOT NULL,
    version bigint NOT NULL,
    roles text[] NOT NULL,
    confirmed boolean NOT NULL,
    joined_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT memberships_id PRIMARY KEY (project_id, membership_id)
);
CREATE INDEX memberships_order ON memberships (project_id, team_id, sequence);
CREATE INDEX memberships_user ON memberships (project_id, user_id);

CREATE TABLE platforms (
    project_id text NOT NULL,
    platform_id text NOT NULL,
    sequence bigint NOT NULL,
    type text NOT NULL,
    name text NOT NULL,
    hostname text NOT NULL,
    key text NOT NULL,
    store text NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT platforms_id PRIMARY KEY (project_id, platform_id)
);

-- Services that are switched off for users and guests; `rest` is the whole API.
ALTER TABLE projects ADD COLUMN disabled text[] NOT NULL DEFAULT '{}';
-- The version of the project's stream that last changed its variables (those of all functions, rows without a function).
ALTER TABLE projects ADD COLUMN variables_version bigint NOT NULL DEFAULT 0;

-- Sign-ins with a wrong password, by account and address; a bound on guessing, no fact: it may be emptied.
CREATE TABLE sign_in_tries (
    project_id text COLLATE "C" NOT NULL,
    subject text COLLATE "C" NOT NULL,
    tried integer NOT NULL,
    free_at timestamptz NOT NULL,
    PRIMARY KEY (project_id, subject)
);

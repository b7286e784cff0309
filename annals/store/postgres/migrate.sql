-- name: create_ledger
-- The only table that exists before the first migration.
CREATE TABLE IF NOT EXISTS schema_migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    digest text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: applied
-- The applied files, to compare with the program's.
SELECT number, name, digest FROM schema_migrations;

-- name: record
-- Record an applied file in its own transaction.
INSERT INTO schema_migrations (number, name, digest) VALUES (%s, %s, %s);

-- name: is_applied
-- Whether a file was applied.
SELECT EXISTS (SELECT FROM schema_migrations WHERE name = %(name)s) AS applied;

-- name: create_ledger
-- The one table that is there before the first migration.
CREATE TABLE IF NOT EXISTS schema_migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    digest text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- name: applied
-- What was applied, to compare with the files.
SELECT number, name, digest FROM schema_migrations;

-- name: record
-- Remember an applied file, in the same transaction.
INSERT INTO schema_migrations (number, name, digest) VALUES (%s, %s, %s);

-- name: is_applied
-- Whether a file was applied.
SELECT EXISTS (SELECT FROM schema_migrations WHERE name = %(name)s) AS applied;

-- name: storage_options
-- A table's storage options, as ALTER TABLE takes them.
SELECT array_to_string(reloptions, ', ') AS options FROM pg_class WHERE oid = %(table)s::regclass AND reloptions IS NOT NULL;

-- name: constraints
-- A table's keys and checks with their names, by which violations are recognised.
SELECT conname AS name, pg_get_constraintdef(oid) AS definition FROM pg_constraint
WHERE conrelid = %(table)s::regclass AND contype IN ('p', 'u', 'c', 'x') ORDER BY contype <> 'p', conname;

-- name: indexes
-- A table's indexes that belong to no constraint.
SELECT c.relname AS name, pg_get_indexdef(i.indexrelid) AS definition
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = %(table)s::regclass
    AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
ORDER BY c.relname;

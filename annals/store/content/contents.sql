-- name: put
-- Store or replace one content outside an append.
INSERT INTO contents (stream, version, kind, digest, size, data, blob)
VALUES (%(stream)s, %(version)s, %(kind)s, %(digest)s, %(size)s, %(data)s, %(blob)s)
ON CONFLICT (stream, version, kind) DO UPDATE
    SET digest = excluded.digest, size = excluded.size, data = excluded.data, blob = excluded.blob;

-- name: blob_of
-- The blob of a content that is about to be replaced.
SELECT blob FROM contents WHERE stream = %(stream)s AND version = %(version)s AND kind = %(kind)s;

-- name: find
-- The newest content of a kind without its bytes.
SELECT stream, version, kind, digest, size FROM contents
WHERE stream = %(stream)s AND kind = %(kind)s AND version >= %(since)s
    AND (%(version)s::bigint IS NULL OR version = %(version)s::bigint)
ORDER BY version DESC LIMIT 1;

-- name: read
-- The newest content of a kind, or the key of its blob.
SELECT digest, data, blob FROM contents
WHERE stream = %(stream)s AND kind = %(kind)s AND version >= %(since)s
    AND (%(version)s::bigint IS NULL OR version = %(version)s::bigint)
ORDER BY version DESC LIMIT 1;

-- name: newest
-- The newest content of a kind of each of some streams.
SELECT DISTINCT ON (stream) stream, digest, data, blob FROM contents
WHERE stream = ANY(%(streams)s) AND kind = %(kind)s
ORDER BY stream, version DESC;

-- name: drop
-- Remove the contents of some streams, and return the blobs to remove after the commit.
DELETE FROM contents WHERE stream = ANY(%(streams)s) RETURNING blob;

-- name: known
-- The blobs that a row names.
SELECT DISTINCT blob FROM contents WHERE blob = ANY(%(blobs)s);

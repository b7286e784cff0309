-- The seal: a Merkle tree over the log, as tiles of 256 hashes, and the checkpoints that were signed over it.

-- Tile (level, index) holds the hashes of the tree's nodes of level 8·level, from 256·index on. Those of level 0 are
-- leaves: `first_position` is the position of the first, `offsets` the others' distances from it (four bytes each,
-- big-endian, empty when the positions have no gaps).
CREATE TABLE seal_tiles (
    level smallint NOT NULL,
    index bigint NOT NULL,
    hashes bytea NOT NULL,
    first_position bigint,
    offsets bytea,
    PRIMARY KEY (level, index),
    CHECK ((level = 0) = (first_position IS NOT NULL AND offsets IS NOT NULL))
);
-- Hashes do not compress.
ALTER TABLE seal_tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;

CREATE INDEX seal_tiles_positions ON seal_tiles (first_position) WHERE level = 0;

CREATE TABLE seal_checkpoints (
    size bigint PRIMARY KEY,
    position bigint NOT NULL,
    root bytea NOT NULL,
    note text NOT NULL,
    signed_at timestamptz NOT NULL,
    -- When it was also written outside this database, to all places.
    outside_at timestamptz
);

CREATE INDEX seal_checkpoints_inside ON seal_checkpoints (size) WHERE outside_at IS NULL;

-- Sealed stretches of the log whose executions were moved to the blob store: every event from `first_leaf` to before
-- `end_leaf` lies in the blob, `root` is the root over these leaves.
CREATE TABLE archive_segments (
    first_leaf bigint PRIMARY KEY,
    end_leaf bigint NOT NULL UNIQUE,
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    last_recorded_at timestamptz NOT NULL,
    blob text NOT NULL,
    digest text NOT NULL,
    size bigint NOT NULL,
    root bytea NOT NULL,
    archived_at timestamptz NOT NULL DEFAULT now(),
    CHECK (first_leaf % 256 = 0 AND end_leaf % 256 = 0 AND first_leaf < end_leaf)
);

-- Works that are held back until somebody says so, such as the schedules of an instance that was restored.
CREATE TABLE holds (
    name text PRIMARY KEY,
    reason text NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);

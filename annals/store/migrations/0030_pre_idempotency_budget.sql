-- Idempotency keys are counted, with the bytes that are kept of their answers, for each project and kind of caller. The
-- counts are spread over shards, so that requests of one project do not wait for each other's commit.

ALTER TABLE idempotency_keys
    ADD COLUMN pool text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN shard smallint NOT NULL DEFAULT 0,
    ADD COLUMN bytes bigint NOT NULL DEFAULT 0,
    -- False for an answer that was too long: only the id of what the request created is known.
    ADD COLUMN kept boolean NOT NULL DEFAULT true;

CREATE INDEX idempotency_keys_pool ON idempotency_keys (project_id, pool, created_at);

CREATE TABLE idempotency_budgets (
    project_id text COLLATE "C" NOT NULL,
    pool text COLLATE "C" NOT NULL,
    shard smallint NOT NULL,
    keys bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (project_id, pool, shard)
) WITH (fillfactor = 50);

UPDATE idempotency_keys SET pool = 'keys';
INSERT INTO idempotency_budgets (project_id, pool, shard, keys)
SELECT project_id, pool, shard, count(*) FROM idempotency_keys GROUP BY project_id, pool, shard;

-- Requests that carried an idempotency key, for a day: who is answering one, and that it was answered. The answers are
-- sealed contents of the stream `idempotency:<project>:<resource_id>`.

CREATE TABLE idempotency_keys (
    project_id text COLLATE "C" NOT NULL,
    caller text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    fingerprint text COLLATE "C" NOT NULL,
    -- The id of what the request creates, chosen before it does: whoever takes a broken request over finds it by that.
    resource_id text COLLATE "C" NOT NULL,
    holder text COLLATE "C" NOT NULL,
    answered_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, caller, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

-- What the keeper looks for every second: who runs what, what waits and since when, which one-off runs are due.
-- One index serves all three, in the order in which they are taken.
DROP INDEX executions_open;
CREATE INDEX executions_open ON executions (status, scheduled_at, sequence)
    WHERE status IN ('waiting', 'processing', 'scheduled');

-- Event triggers begin with what happens from now on, not with what was recorded before there were any.
INSERT INTO checkpoints (name, position)
SELECT 'triggers', coalesce(max(notification_id), 0) FROM events
ON CONFLICT (name) DO NOTHING;

CREATE INDEX functions_events ON functions USING gin (events) WHERE events <> '{}';

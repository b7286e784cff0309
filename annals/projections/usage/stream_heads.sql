-- name: heads
-- The first events of streams that began before a batch; numbered by ord.
SELECT wanted.ord, e.notification_id, e.state
FROM unnest(%(streams)s::text[], %(versions)s::bigint[]) WITH ORDINALITY AS wanted (stream, version, ord)
CROSS JOIN LATERAL (
    SELECT notification_id, state FROM events
    WHERE originator_id = wanted.stream AND originator_version < wanted.version AND topic = ANY(%(topics)s::text[])
    ORDER BY originator_version DESC LIMIT 1
) e;

"""What processes agree on: leases, idempotency keys, pauses, direct dispatch."""

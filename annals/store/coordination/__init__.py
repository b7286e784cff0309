"""What processes agree on: leases, idempotency keys, pauses, build demand, direct dispatch."""

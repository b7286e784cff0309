"""Limits on work, and fair shares of it between projects.

- `limiter`: how much one process accepts: synchronous calls in the API, job messages in a worker.
- `fair_share`: the policy: may a project's request start now? Pure, without event loop, clock or shared memory.
- `fair_queue`: the queue in which requests of an API process wait until the policy lets them start.
- `shared_memory`: what the processes of a host know of each other: tenant activity and backpressure.
- `slots`: concurrency slots of functions, counted in Postgres for the whole instance.
- `tenant_queue`: job messages in Redis, one queue for each project, taken round robin.

The policy for build slots is in `annals.store.log.build_demand`. The executor bounds runs in
`annals.executor.pool.run_queue`.
"""

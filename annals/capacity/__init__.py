"""Limits on work, and fair shares of it between projects.

- `limiter`: how much one process accepts: synchronous calls in the API, job messages in a worker.
- `fair_queue`: the policy that decides if a project's request may start now, and the queue of the requests that wait.
- `shared_memory`: what the processes of a host know of each other: tenant activity and backpressure.
- `slots`: concurrency slots of functions, counted in Postgres for the whole instance.

Job messages in Redis lie in one queue for each project, taken round robin: `annals.workers.broker`. The policy for
build slots is in `annals.store.log.build_demand`. The executor bounds runs in `annals.executor.pool.run_queue`.
"""

"""The executor's port: its protocol, its server with the jobs that run, and its client."""

"""The Python function server: one HTTP server, one deployment's code, one user thread."""

"""Use cases: what the API and the workers both do, without HTTP."""

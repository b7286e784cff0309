"""Connections to Postgres, migrations and named queries."""

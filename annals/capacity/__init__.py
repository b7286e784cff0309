"""Limits on work, and fair shares of it between tenants."""

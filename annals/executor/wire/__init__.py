"""The executor's port: its protocol, its server and its client."""

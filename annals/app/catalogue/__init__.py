"""What an instance offers: runtimes, specifications, templates."""

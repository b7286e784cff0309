"""How this process and its instance do."""

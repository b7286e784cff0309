"""Projects as the console's admins see them, and what a project sets for itself."""

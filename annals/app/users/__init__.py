"""Users of a project, as its keys and admins see them."""

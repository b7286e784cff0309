"""What happened: to one resource, in a whole project, and because of what."""

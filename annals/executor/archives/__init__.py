"""Archives from users and from builds: strict readers, limits on what they unpack to, and the writer of the files."""

"""What consoles and command-line tools ask of an instance, and keys that last a short while."""

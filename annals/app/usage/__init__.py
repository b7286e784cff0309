"""Usage of functions, by hour and day."""

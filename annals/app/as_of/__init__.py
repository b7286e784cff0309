"""`asOf`: gets and lists answer with the state at a position of the log, or at a time."""

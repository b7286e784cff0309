"""`asOf`: gets and lists as they were answered at a position of the log, or at a time."""

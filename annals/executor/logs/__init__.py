"""Output of user code on its way to the log."""

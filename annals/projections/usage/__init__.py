"""The read model of usage: its cube, and the answers to questions about it."""

"""The usage read model: its cube, and the answers to questions about it."""

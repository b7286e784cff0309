"""Drivers start sandboxes: bubblewrap processes (`sandbox`) or containers (`docker`). `port` is their interface."""

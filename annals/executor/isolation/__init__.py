"""What confines user code: kernel limits, networks, folders, processes."""

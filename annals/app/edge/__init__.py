"""The edge: the way of every request from its route to its answer."""

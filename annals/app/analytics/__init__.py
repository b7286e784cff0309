"""Usage by any range, interval, zone and grouping, down to the executions behind a number."""

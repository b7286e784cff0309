"""Requests to host names of functions: they run the function instead of the API."""
